"""What happens to the bytes of one C-STORE, from the first fragment to its status (S11, S12).

Knows nothing of the network library. The bytes go to the disk and through the hash as they
come, so an object of any size needs little memory (E2).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from node.dicom.part10 import (
    Part10,
    Stamp,
    content_sha256,
    encode_meta,
    read_part10,
)
from node.dicom.scan import Fault, Header, ScanLimits
from node.dicom.uids import valid_uid
from node.errors import InstanceRejected, NodeError, StorageUnavailable
from node.intake.agreement import CANNOT_UNDERSTAND, StoreCommand, check_against_command
from node.intake.group import GroupCommit
from node.intake.names import Names
from node.intake.policy import Admission
from node.intake.settling import Link, Settling
from node.intake.spool import Spool, Workbench
from node.logs import get_logger, hashed
from node.model import Instance, InstanceState
from node.settings import ReceiveSettings
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import (
    NewInstance,
    Recorded,
    find_version,
)
from node.storage.quarantine_rows import NewQuarantine, record_quarantine

__all__ = ["CANNOT_UNDERSTAND", "SUCCESS", "Answer", "Intake", "StoreCommand", "Upload"]

log = get_logger(__name__)

SUCCESS = 0x0000
#: Statuses of PS3.4 B.2.3 and PS3.7 C that we answer (S11).
NOT_AUTHORISED = 0x0124
OUT_OF_RESOURCES = 0xA700

#: Codes of objects that were stored as they should be.
_STORED = frozenset(recorded.value for recorded in Recorded)
#: How many bytes may come between two looks at the free space.
_LOOK_AGAIN_BYTES = 64 << 20


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
        self.rows = GroupCommit(db)
        self.bench = Workbench()
        self.names = Names(files)
        self.settling = Settling(files)
        self.min_free_bytes = settings.min_free_mb << 20
        self.limits = ScanLimits(
            max_depth=settings.max_depth, max_header_bytes=settings.max_header_mb << 20
        )

    def begin(self, command: StoreCommand, admission: Admission) -> Upload:
        """Return where the data set's bytes go; what is wrong already is answered at the end."""
        return Upload(self, command, admission)

    def close(self) -> None:
        """Make durable what waits for it, and give back names that were not used."""
        self.settling.close()
        self.names.close()

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
        self._unseen = 0
        self._spool: Spool | None = None
        self._size = 0
        self._refusal: Answer | None = None
        self._guarded(self._open)

    def write(self, fragment: memoryview | bytes) -> None:
        """Take the next bytes; after a refusal they are dropped."""
        if self._refusal is None:
            self._guarded(lambda: self._append(fragment))

    def finish(self) -> Answer:
        """Make the object durable and return what to answer; never raises for what came."""
        answer: list[Answer] = []
        try:
            if self._refusal is None:
                with self._intake.rows.coming():
                    self._guarded(lambda: answer.append(self._settle()))
        finally:
            spool, self._spool = self._spool, None
            if spool is not None:
                spool.recycle()
        outcome = self._refusal or answer[0]
        self._report(outcome)
        return outcome

    def discard(self) -> None:
        """Drop what is half received: it was never acknowledged."""
        spool, self._spool = self._spool, None
        if spool is not None:
            spool.discard()

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
        self._spool = Spool(
            self._intake.names, self._intake.bench, lambda: self._meta(self._stamp(0.0))
        )

    def _append(self, fragment: memoryview | bytes) -> None:
        self._unseen += len(fragment)
        if self._unseen > _LOOK_AGAIN_BYTES:
            self._unseen = 0
            self._intake.check_free_space()
        self._opened.append(fragment)
        self._size += len(fragment)

    @property
    def _opened(self) -> Spool:
        if self._spool is None:
            raise StorageUnavailable("the upload was discarded")
        return self._spool

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
        spool, stamp = self._opened, self._stamp(self._intake.clock())
        meta = self._meta(stamp)
        part10 = Part10(
            sop_class_uid=self._command.sop_class_uid,
            sop_instance_uid=self._command.sop_instance_uid,
            transfer_syntax_uid=self._command.transfer_syntax_uid,
            dataset_offset=len(meta),
            stamp=stamp,
        )
        header = spool.scan(meta, part10, self._intake.limits)
        check_against_command(header, self._command)
        path = spool.land(meta, part10, header)
        size_bytes = len(meta) + self._size
        if header.fault is not None:
            return self._quarantine(path, header, stamp, size_bytes)
        new = new_instance(
            self._command.transfer_syntax_uid,
            header,
            content=spool.content_sha256,
            pixels=spool.pixel_sha256,
            size_bytes=size_bytes,
            stamp=stamp,
        )
        return self._store(path, new)

    def _store(self, path: Path, new: NewInstance) -> Answer:
        """Link to the instance's own name, which is free but for repeats; then record.

        The file keeps its durable name in `incoming/` until the new one is durable too.
        """
        files = self._intake.files
        final = files.instance_path(
            new.study_instance_uid, new.series_instance_uid, new.sop_instance_uid
        )
        try:
            files.link(path, final)
        except FileExistsError:
            return self._store_beside(path, final, new)
        self._opened.release()
        self._intake.settling.add(Link(path, final))
        recorded = self._intake.rows.record(replace(new, path=files.relative(final)))
        if recorded is Recorded.SAME:
            self._put_back(final, new)
        return Answer(status=SUCCESS, code=recorded.value)

    def _store_beside(self, path: Path, taken: Path, new: NewInstance) -> Answer:
        """Store what finds another file under its name: a repeat, or another version (S2)."""
        files = self._intake.files
        known = find_version(self._intake.db, new.sop_instance_uid, new.content_sha256)
        if known is not None:
            return self._again(path, new, known)
        second = files.instance_path(
            new.study_instance_uid,
            new.series_instance_uid,
            new.sop_instance_uid,
            sha256=new.content_sha256,
        )
        for final in (taken, second):
            stamp = self._publish(path, final, new)
            if stamp is not None:
                placed = replace(
                    new,
                    path=files.relative(final),
                    received_at=stamp.received_at,
                    calling_ae=stamp.calling_ae,
                    called_ae=stamp.called_ae,
                    peer=stamp.peer,
                )
                return Answer(status=SUCCESS, code=self._intake.rows.record(placed).value)
        raise StorageUnavailable("another file has the place of this version")

    def _put_back(self, final: Path, new: NewInstance) -> None:
        """Leave the file of known bytes where their row says, after somebody removed it."""
        files = self._intake.files
        known = find_version(self._intake.db, new.sop_instance_uid, new.content_sha256)
        if known is None or known.path == files.relative(final):
            return
        kept = files.absolute(known.path)
        if known.state is not InstanceState.DUPLICATE and not kept.exists():
            files.publish(final, kept, synced=True)
        else:
            final.unlink(missing_ok=True)

    def _again(self, path: Path, new: NewInstance, known: Instance) -> Answer:
        """Answer for bytes that have a row; put the file back if somebody removed it."""
        kept = self._intake.files.absolute(known.path)
        if known.state is not InstanceState.DUPLICATE and not kept.exists():
            self._intake.files.publish(path, kept, synced=True)
        recorded = self._intake.rows.record(new)
        return Answer(status=SUCCESS, code=recorded.value)

    def _publish(self, path: Path, final: Path, new: NewInstance) -> Stamp | None:
        """Publish, or adopt equal bytes that a crash left without a row; None: place taken."""
        ours = self._stamp(new.received_at)
        try:
            self._intake.files.publish(path, final, synced=True)
        except FileExistsError:
            part10 = read_part10(final)
            if content_sha256(final, part10) != new.content_sha256:
                return None
            self._intake.files.settle(final)
            return part10.stamp or ours
        return ours

    def _quarantine(self, path: Path, header: Header, stamp: Stamp, size_bytes: int) -> Answer:
        fault = header.fault or Fault(code="MALFORMED", sentence="unfit to be processed")
        sha256 = self._opened.content_sha256
        final = self._intake.files.quarantine_path(sha256)
        try:
            self._intake.files.publish(path, final, synced=True)
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
                size_bytes=size_bytes,
                sop_instance_uid=header.uid("SOPInstanceUID"),
                sop_class_uid=header.uid("SOPClassUID"),
                study_instance_uid=header.uid("StudyInstanceUID"),
                calling_ae=stamp.calling_ae,
                called_ae=stamp.called_ae,
            ),
        )
        return Answer(status=SUCCESS, comment=fault.sentence[:64], code=fault.code)


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
