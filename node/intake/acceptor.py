"""An accepted association: admission by policy, objects streamed to the disk as they come."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pynetdicom import evt
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import P_DATA

from node.dicom.network import acceptable_contexts
from node.dicom.reactor import EventAssociation, RingingQueue
from node.dicom.wire import (
    COMMAND,
    LAST,
    StoreRequest,
    fragments,
    parse_store_request,
    store_response,
)
from node.errors import StorageUnavailable
from node.intake.policy import Admission, Rejection, admit
from node.intake.receive import CANNOT_UNDERSTAND, SUCCESS, Answer, Intake, StoreCommand, Upload
from node.logs import get_logger
from node.settings import Settings
from node.storage.database import Database
from node.storage.presence_rows import OpenAssociation, close_association, open_association

log = get_logger(__name__)

_NO_DATA_SET = 0x0101


@dataclass(kw_only=True)
class Desk:
    """What all associations of one receiver process share."""

    settings: Settings
    db: Database
    intake: Intake
    #: Name of this process in association rows.
    receiver: str
    #: Row ids of associations that are open here.
    admitted: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check_in(
        self, *, calling_ae: str, called_ae: str, address: str
    ) -> tuple[Admission, str] | Rejection:
        """Decide on an association and note it; return its row's id."""
        verdict = admit(self.settings, calling_ae=calling_ae, called_ae=called_ae, address=address)
        if isinstance(verdict, Rejection):
            return verdict
        row = OpenAssociation(
            id=secrets.token_hex(16),
            peer=verdict.peer,
            calling_ae=verdict.calling_ae,
            receiver=self.receiver,
            opened_at=self.intake.clock(),
        )
        with self._lock:
            if len(self.admitted) >= self.settings.receive.max_associations:
                return Rejection.LOCAL_LIMIT_EXCEEDED
            try:
                opened = open_association(self.db, row, limit=verdict.max_associations)
            except StorageUnavailable:
                return Rejection.TEMPORARY_CONGESTION
            if not opened:
                return Rejection.LOCAL_LIMIT_EXCEEDED
            self.admitted.add(row.id)
        return verdict, row.id

    def check_out(self, row_id: str) -> None:
        """Forget an association that ended."""
        with self._lock:
            self.admitted.discard(row_id)
        with contextlib.suppress(StorageUnavailable):  # the next start clears it
            close_association(self.db, row_id)


class Acceptor(EventAssociation):
    """One association of a peer with us."""

    def __init__(self, ae: ApplicationEntity, mode: str, desk: Desk):
        super().__init__(ae, mode)
        self.desk = desk
        self.admission: Admission | None = None
        self.row_id = ""
        #: When something was last served, monotonic.
        self.last_served = time.monotonic()
        self.acse = PolicyAcse(self)
        self.uploads = UploadingDimse(self)
        self.dimse = self.uploads
        self.dimse.msg_queue = RingingQueue(self.work)

    def run_reactor(self) -> None:
        """Serve until the association ends, however it ends."""
        try:
            super().run_reactor()
        finally:
            self.uploads.discard()
            if self.row_id:
                self.desk.check_out(self.row_id)
                log.info(
                    "association closed",
                    peer=self.admission.peer if self.admission else "",
                    released=bool(self.is_released),
                )

    def admit(self) -> Rejection | None:
        """Ask the desk; return why not."""
        request: Any = self.requestor.primitive
        verdict = self.desk.check_in(
            calling_ae=str(request.calling_ae_title),
            called_ae=str(request.called_ae_title),
            address=self.requestor.address,
        )
        if isinstance(verdict, Rejection):
            # Whom to add to `[[peers]]`: titles and addresses are no patient data (S28).
            log.warning(
                "association rejected",
                reason=verdict.name,
                calling_ae=_title(request.calling_ae_title),
                called_ae=_title(request.called_ae_title),
                address=self.requestor.address,
            )
            return verdict
        self.admission, self.row_id = verdict
        log.info("association opened", peer=self.admission.peer)
        return None

    def end(self) -> None:
        """Close the association, or the connection that did not ask for one yet."""
        if self.is_established:
            self.abort()
        else:
            self.dul.to_user_queue.put(None)  # type: ignore[arg-type]

    def take_data(self, body: memoryview) -> None:
        """Take a P-DATA-TF's items, in the connection's thread."""
        for context_id, control, data in fragments(body):
            self.uploads.take(context_id, control, data)

    def begin_upload(
        self, sop_class_uid: str, sop_instance_uid: str, context_id: int
    ) -> Upload | None:
        """Return where the object of a request goes; None if its context was not accepted."""
        self.last_served = time.monotonic()
        context = self._accepted_cx.get(context_id)
        if context is None or self.admission is None:
            return None
        command = StoreCommand(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=str(context.transfer_syntax[0]),
        )
        return self.desk.intake.begin(command, self.admission)

    @property
    def is_busy(self) -> bool:
        """Return whether an object is coming in, or becoming durable."""
        return self.uploads.is_receiving or self.uploads.is_finishing

    @property
    def is_working(self) -> bool:
        """Return whether an object is becoming durable: the peer waits for us."""
        return self.uploads.is_finishing

    def send_now(self, pdu: bytes) -> None:
        """Send from the connection's own thread, past the library's queues."""
        if self.dul.socket is not None:
            self.dul.socket.send(pdu)
        self.last_served = time.monotonic()

    def _serve_request(self, msg: Any, context_id: int) -> None:
        self.last_served = time.monotonic()
        if isinstance(msg, C_STORE):
            self._serve_store(msg, context_id)
        else:
            super()._serve_request(msg, context_id)
        self.last_served = time.monotonic()

    def _serve_store(self, request: C_STORE, context_id: int) -> None:
        upload: Upload | None = getattr(request, "upload", None)
        if context_id not in self._accepted_cx:
            self.abort()
            return
        answer = (
            upload.finish()
            if upload is not None
            else Answer(status=CANNOT_UNDERSTAND, comment="no data set", code="NO_DATA_SET")
        )
        response: Any = C_STORE()
        response.MessageID = request.MessageID
        response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.Status = answer.status
        if answer.status != SUCCESS and answer.comment:
            response.ErrorComment = answer.comment
        self.dimse.send_msg(response, context_id)


class PolicyAcse(ACSE):
    """Negotiates only with whom the policy admits."""

    def __init__(self, assoc: Acceptor):
        super().__init__(assoc)
        self._acceptor = assoc

    def _negotiate_as_acceptor(self) -> None:
        rejection = self._acceptor.admit()
        if rejection is not None:
            self.send_reject(*rejection.value)
            evt.trigger(self.assoc, evt.EVT_REJECTED, {})
            self.assoc.kill()
            return
        request: Any = self.requestor.primitive
        self.acceptor.supported_contexts = acceptable_contexts(
            request.presentation_context_definition_list
        )
        super()._negotiate_as_acceptor()


class UploadingDimse(DIMSEServiceProvider):
    """Assembles messages; the data sets of C-STOREs go to an `Upload`, not into memory."""

    def __init__(self, assoc: Acceptor):
        super().__init__(assoc)
        self._acceptor = assoc
        self._upload: Upload | None = None
        #: What to answer; None: the library parsed the request and answers.
        self._request: StoreRequest | None = None
        #: Whether an object is becoming durable.
        self.is_finishing = False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of one P-DATA that came the library's way."""
        for context_id, fragment in primitive.presentation_data_value_list:
            self.take(context_id, fragment[0], memoryview(fragment)[1:])

    def take(self, context_id: int, control: int, data: memoryview) -> None:
        """Take one fragment (PS3.8 E.2); the last one of an object is answered at once.

        At once, in the connection's own thread: nothing else can come before the answer,
        and waking another thread costs more than all of the library's work.
        """
        if self._upload is not None and not control & COMMAND:
            self._upload.write(data)
            if control & LAST:
                self._end_of_data(context_id)
        elif not self._began(context_id, control, data):
            self._assemble(context_id, bytes((control,)) + data)

    @property
    def is_receiving(self) -> bool:
        """Return whether an object is coming in."""
        return self._upload is not None

    def discard(self) -> None:
        """Drop the object that was under way when the association ended."""
        while self.msg_queue.qsize():
            _, message = self.msg_queue.get_nowait()
            upload = getattr(message, "upload", None)
            if upload is not None:
                upload.discard()
        if self._upload is not None:
            self._upload.discard()
            self._upload = None

    def _began(self, context_id: int, control: int, data: memoryview) -> bool:
        """Begin an upload if this is a plain C-STORE request; return whether it was."""
        if control != COMMAND | LAST or self._upload is not None or self.message is not None:
            return False
        request = parse_store_request(data)
        if request is None:
            return False
        self._upload = self._acceptor.begin_upload(
            request.sop_class_uid, request.sop_instance_uid, context_id
        )
        self._request = request
        return self._upload is not None

    def _end_of_data(self, context_id: int) -> None:
        request, upload = self._request, self._upload
        if request is None or upload is None:
            self._pass_on(context_id)
            return
        self.is_finishing = True  # a large object may take longer than silence is allowed
        self._request = self._upload = None
        try:
            answer = upload.finish()
        finally:
            self.is_finishing = False
            self.dul._idle_timer.restart()
        comment = answer.comment if answer.status != SUCCESS else ""
        self._acceptor.send_now(store_response(context_id, request, answer.status, comment))

    def _assemble(self, context_id: int, fragment: bytes) -> None:
        part: Any = P_DATA()  # typed as tuples, checked as lists
        part.presentation_data_value_list = [[context_id, fragment]]
        super().receive_primitive(part)
        message = self.message
        if (
            isinstance(message, C_STORE_RQ)
            and fragment[0] & 2
            and message.command_set.CommandDataSetType != _NO_DATA_SET
        ):
            self._request = None
            self._upload = self._acceptor.begin_upload(
                str(message.command_set.get("AffectedSOPClassUID", "")),
                str(message.command_set.get("AffectedSOPInstanceUID", "")),
                context_id,
            )

    def _pass_on(self, context_id: int) -> None:
        upload, self._upload = self._upload, None
        message, self.message = self.message, None
        if upload is None or message is None:
            return
        try:
            request: Any = message.message_to_primitive()
        except ValueError:
            upload.discard()
            self.dul.event_queue.put("Evt19")
            return
        request.DataSet = BytesIO()
        request.upload = upload
        self.msg_queue.put((context_id, request))


def _title(text: object) -> str:
    """Return an AE title as it came, at most 16 printable characters (PS3.5 6.2)."""
    return "".join(one for one in str(text).strip()[:16] if one.isascii() and one.isprintable())
