"""What happens to the bytes of one C-STORE, from the first fragment to its status (S11, S12).

Knows nothing of the network library. The bytes go to the disk and through the hash as they
come, so an object of any size needs little memory (E2).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from sqlalchemy.exc import SQLAlchemyError

from node.dicom.part10 import (
    Part10,
    Stamp,
    content_sha256,
    encode_meta,
    pixel_sha256,
    read_part10,
    scan_stream,
)
from node.dicom.scan import Fault, Header, ScanLimits
from node.dicom.uids import valid_uid
from node.errors import InstanceRejected, NodeError, StorageUnavailable
from node.intake.policy import Admission
from node.logs import get_logger, hashed
from node.model import Instance, InstanceState
from node.settings import ReceiveSettings
from node.storage.database import Database
from node.storage.files import Files, open_private
from node.storage.intake_rows import (
    NewInstance,
    Recorded,
    find_version,
    record_instance,
)
from node.storage.quarantine_rows import NewQuarantine, record_quarantine

log = get_logger(__name__)

SUCCESS = 0x0000
#: Statuses of PS3.4 B.2.3 and PS3.7 C that we answer (S11).
NOT_AUTHORISED = 0x0124
OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

#: Codes of objects that were stored as they should be.
_STORED = frozenset(recorded.value for recorded in Recorded)
#: How many bytes may come between two looks at the free space.
_LOOK_AGAIN_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class StoreCommand:
    """What the C-STORE request says about the object that follows."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The status of a C-STORE response, with a comment for the sender's log."""

    status: int
    #: At most 64 characters, no identifiers (0000,0902).
    comment: str = ""
    #: ``NEW``, ``SAME``, ``VERSION``, or a stable code of quarantine or refusal.
    code: str = ""


class Intake:
    """Takes objects in: one for all associations of a process.

    Parameters
    ----------
    db, files
        Where rows and files go.
    settings : ReceiveSettings
        Limits.
    clock : callable
        Seconds since the epoch, UTC.
    """

    def __init__(
        self,
        db: Database,
        files: Files,
        settings: ReceiveSettings,
        *,
        clock: Callable[[], float] = time.time,
    ):
        self.db = db
        self.files = files
        self.clock = clock
        self.min_free_bytes = settings.min_free_mb << 20
        self.limits = ScanLimits(
            max_depth=settings.max_depth, max_header_bytes=settings.max_header_mb << 20
        )

    def begin(self, command: StoreCommand, admission: Admission) -> Upload:
        """Return where the data set's bytes go; what is wrong already is answered at the end."""
        return Upload(self, command, admission)

    def check_free_space(self) -> None:
        """Raise `StorageUnavailable` while the disk still has room for what is under way."""
        if self.files.free_bytes() < self.min_free_bytes:
            raise StorageUnavailable("disk nearly full")


class Upload:
    """One object on its way in; `finish` or `discard` ends it."""

    def __init__(self, intake: Intake, command: StoreCommand, admission: Admission):
        self._intake = intake
        self._command = command
        self._admission = admission
        self._digest = hashlib.sha256()
        self._size = 0
        self._unseen = 0
        self._path: Path | None = None
        self._stream: IO[bytes] | None = None
        self._meta_length = 0
        self._refusal: Answer | None = None
        self._guarded(self._open)

    def write(self, fragment: bytes) -> None:
        """Take the next bytes; after a refusal they are dropped."""
        if self._refusal is None:
            self._guarded(lambda: self._append(fragment))

    def finish(self) -> Answer:
        """Make the object durable and return what to answer; never raises for what came."""
        answer: list[Answer] = []
        try:
            if self._refusal is None:
                self._guarded(lambda: answer.append(self._settle()))
        finally:
            self.discard()
        outcome = self._refusal or answer[0]
        self._report(outcome)
        return outcome

    def discard(self) -> None:
        """Drop what is half received: it was never acknowledged."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _guarded(self, step: Callable[[], None]) -> None:
        """Run a step; an error becomes the refusal that `finish` answers (S11)."""
        try:
            step()
        except NodeError as error:
            self._refuse(error.dicom_status, str(error), str(error.code))
        except OSError as error:
            reason = f"disk: {error.strerror or type(error).__name__}"
            self._refuse(OUT_OF_RESOURCES, reason, "STORAGE_UNAVAILABLE")
        except SQLAlchemyError as error:
            reason = f"database: {type(error).__name__}"
            self._refuse(OUT_OF_RESOURCES, reason, "STORAGE_UNAVAILABLE")

    def _refuse(self, status: int, comment: str, code: str) -> None:
        self._refusal = Answer(status=status, comment=comment[:64], code=code)
        self.discard()

    def _report(self, answer: Answer) -> None:
        accepted = answer.status == SUCCESS
        (log.debug if accepted and answer.code in _STORED else log.warning)(
            "instance received" if accepted else "instance refused",
            status=f"{answer.status:04X}",
            code=answer.code,
            reason=answer.comment,
            instance=hashed(self._command.sop_instance_uid),
            peer=self._admission.peer,
            size_bytes=self._size,
        )

    # --- while it comes ----------------------------------------------------------------------

    def _open(self) -> None:
        if not self._admission.may_store:
            raise InstanceRejected(
                "this peer may not store", dicom_status=NOT_AUTHORISED, code="NOT_ALLOWED"
            )
        if not (
            valid_uid(self._command.sop_instance_uid) and valid_uid(self._command.sop_class_uid)
        ):
            raise InstanceRejected(
                "the request names no usable SOP UIDs",
                dicom_status=CANNOT_UNDERSTAND,
                code="NO_USABLE_UID",
            )
        self._intake.check_free_space()
        path = self._intake.files.new_incoming()
        self._stream = open_private(path)
        self._path = path
        self._meta_length = self._stream.write(self._meta(self._stamp(0.0)))

    def _append(self, fragment: bytes) -> None:
        self._unseen += len(fragment)
        if self._unseen > _LOOK_AGAIN_BYTES:
            self._unseen = 0
            self._intake.check_free_space()
        self._opened[1].write(fragment)
        self._digest.update(fragment)
        self._size += len(fragment)

    @property
    def _opened(self) -> tuple[Path, IO[bytes]]:
        if self._path is None or self._stream is None:
            raise StorageUnavailable("the upload was discarded")
        return self._path, self._stream

    def _stamp(self, received_at: float) -> Stamp:
        return Stamp(
            calling_ae=self._admission.calling_ae,
            called_ae=self._admission.called_ae,
            peer=self._admission.peer,
            received_at=received_at,
        )

    def _meta(self, stamp: Stamp) -> bytes:
        command = self._command
        return encode_meta(
            command.sop_class_uid, command.sop_instance_uid, command.transfer_syntax_uid, stamp
        )

    # --- when all of it is here --------------------------------------------------------------

    def _settle(self) -> Answer:
        """Scan, judge, publish, record; only then is the object ours (S12)."""
        path, stream = self._opened
        stamp = self._stamp(self._intake.clock())
        stream.seek(0)
        stream.write(self._meta(stamp))
        stream.flush()
        part10 = Part10(
            sop_class_uid=self._command.sop_class_uid,
            sop_instance_uid=self._command.sop_instance_uid,
            transfer_syntax_uid=self._command.transfer_syntax_uid,
            dataset_offset=self._meta_length,
            stamp=stamp,
        )
        header = scan_stream(stream, part10, limits=self._intake.limits)
        check_against_command(header, self._command)
        if header.fault is not None:
            return self._quarantine(path, header, header.fault, stamp)
        pixels = pixel_sha256(stream, part10, header)
        return self._store(path, self._new_instance(header, pixels, stamp))

    def _new_instance(self, header: Header, pixels: str, stamp: Stamp) -> NewInstance:
        return new_instance(
            self._command.transfer_syntax_uid,
            header,
            content=self._digest.hexdigest(),
            pixels=pixels,
            size_bytes=self._meta_length + self._size,
            stamp=stamp,
        )

    def _store(self, path: Path, new: NewInstance) -> Answer:
        files = self._intake.files
        uids = (new.study_instance_uid, new.series_instance_uid, new.sop_instance_uid)
        known = find_version(self._intake.db, new.sop_instance_uid, new.content_sha256)
        if known is not None:
            return self._again(path, new, known)
        final = files.instance_path(*uids)
        stamp = self._publish(path, final, new)
        if stamp is None:
            final = files.instance_path(*uids, sha256=new.content_sha256)
            stamp = self._publish(path, final, new)
        if stamp is None:
            raise StorageUnavailable("another file has the place of this version")
        recorded = record_instance(
            self._intake.db,
            replace(
                new,
                path=files.relative(final),
                received_at=stamp.received_at,
                calling_ae=stamp.calling_ae,
                called_ae=stamp.called_ae,
                peer=stamp.peer,
            ),
        )
        return Answer(status=SUCCESS, code=recorded.value)

    def _again(self, path: Path, new: NewInstance, known: Instance) -> Answer:
        """Answer for bytes that have a row; put the file back if somebody removed it."""
        kept = self._intake.files.absolute(known.path)
        if known.state is not InstanceState.DUPLICATE and not kept.exists():
            self._intake.files.publish(path, kept)
        recorded = record_instance(self._intake.db, new)
        return Answer(status=SUCCESS, code=recorded.value)

    def _publish(self, path: Path, final: Path, new: NewInstance) -> Stamp | None:
        """Publish, or adopt equal bytes that a crash left without a row; None: place taken."""
        ours = self._stamp(new.received_at)
        try:
            self._intake.files.publish(path, final)
        except FileExistsError:
            part10 = read_part10(final)
            if content_sha256(final, part10) != new.content_sha256:
                return None
            self._intake.files.settle(final)
            return part10.stamp or ours
        return ours

    def _quarantine(self, path: Path, header: Header, fault: Fault, stamp: Stamp) -> Answer:
        sha256 = self._digest.hexdigest()
        final = self._intake.files.quarantine_path(sha256)
        try:
            self._intake.files.publish(path, final)
        except FileExistsError:
            self._intake.files.settle(final)
        record_quarantine(
            self._intake.db,
            NewQuarantine(
                received_at=stamp.received_at,
                code=fault.code,
                sentence=fault.sentence,
                path=self._intake.files.relative(final),
                sha256=sha256,
                size_bytes=self._meta_length + self._size,
                sop_instance_uid=header.uid("SOPInstanceUID"),
                sop_class_uid=header.uid("SOPClassUID"),
                study_instance_uid=header.uid("StudyInstanceUID"),
                calling_ae=stamp.calling_ae,
                called_ae=stamp.called_ae,
            ),
        )
        return Answer(status=SUCCESS, comment=fault.sentence[:64], code=fault.code)


def check_against_command(header: Header, command: StoreCommand) -> None:
    """Refuse what has no usable UIDs, or other ones than the request names.

    Raises
    ------
    InstanceRejected
        C000 or A900.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if not valid_uid(header.uid(keyword)):
            why = f"; {header.fault.sentence}" if header.fault else ""
            raise InstanceRejected(
                f"no usable {keyword}{why}", dicom_status=CANNOT_UNDERSTAND, code="NO_USABLE_UID"
            )
    for keyword, expected in (
        ("SOPClassUID", command.sop_class_uid),
        ("SOPInstanceUID", command.sop_instance_uid),
    ):
        if header.uid(keyword) != expected:
            raise InstanceRejected(
                f"{keyword} differs between data set and request",
                dicom_status=DATA_SET_MISMATCH,
                code="UID_MISMATCH",
            )


def new_instance(
    transfer_syntax_uid: str,
    header: Header,
    *,
    content: str,
    pixels: str,
    size_bytes: int,
    stamp: Stamp,
    path: str = "",
) -> NewInstance:
    """Return the row of a file: the same when it is received and when rows are made again."""
    return NewInstance(
        study_instance_uid=header.uid("StudyInstanceUID"),
        series_instance_uid=header.uid("SeriesInstanceUID"),
        sop_instance_uid=header.uid("SOPInstanceUID"),
        sop_class_uid=header.uid("SOPClassUID"),
        transfer_syntax_uid=transfer_syntax_uid,
        modality=header.text("Modality")[:16],
        content_sha256=content,
        pixel_sha256=pixels,
        path=path,
        size_bytes=size_bytes,
        received_at=stamp.received_at,
        calling_ae=stamp.calling_ae,
        called_ae=stamp.called_ae,
        peer=stamp.peer,
        origin=stamp.origin,
    )
