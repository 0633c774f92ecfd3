"""One association as SCU: store, find and get on it, each failure a `DeliveryFailed`."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import PresentationContext

from node.delivery.answers import Verdict, failure
from node.dicom.headers import quiet_pydicom
from node.settings import DestinationSettings

# S1: send the file's own bytes. Without this switch of the library, which holds for the whole
# process, `send_c_store(path)` decodes the file and encodes it anew.
_config.STORE_SEND_CHUNKED_DATASET = True

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_VERIFICATION = "1.2.840.10008.1.1"
_PENDING = (0xFF00, 0xFF01)
#: Slowest link that is not given up, bytes/s: the timeout for the answer runs from the moment
#: the object is queued, not from the moment it is sent.
_SLOWEST_BYTES_PER_S = 100_000.0
_MAX_PDU_BYTES = 131_072
_TRANSIENT = 0x02


class Link:
    """An established association to a peer.

    Parameters
    ----------
    assoc : pynetdicom.association.Association
        Established, or without a single accepted context.
    timeout_s : float
        For one answer to a small request.
    """

    def __init__(self, assoc: Any, timeout_s: float):
        self._assoc = assoc
        self._timeout_s = timeout_s
        self._message_id = 0
        #: Part-10 bytes of what C-GET brought, by SOP Instance UID.
        self.received: dict[str, bytes] = {}

    def accepts(self, sop_class_uid: str, syntax: str = "", *, as_scp: bool = False) -> bool:
        """Return whether the peer takes that class (in that transfer syntax) from us.

        With `as_scp`: whether it would send it to us over this association.
        """
        return any(
            context.abstract_syntax == sop_class_uid
            and (not syntax or context.transfer_syntax[0] == syntax)
            and (context.as_scp if as_scp else context.as_scu)
            for context in self._assoc.accepted_contexts
        )

    def store(self, path: Path, size_bytes: int) -> int:
        """C-STORE the bytes of a file as they are; return the status.

        Raises
        ------
        DeliveryFailed
            NO_ANSWER, if none came.
        """
        self._allow(size_bytes)
        try:
            status = self._assoc.send_c_store(path, msg_id=self._next_id())
        except RuntimeError:
            raise failure(Verdict.NO_ANSWER, "the association ended before its turn") from None
        return self._status_of(status)

    def find(self, query: Dataset) -> list[Dataset] | None:
        """C-FIND at the study root; None if the peer answers no such query.

        Raises
        ------
        DeliveryFailed
            NO_ANSWER, if the answer broke off.
        """
        if not self.accepts(STUDY_ROOT_FIND):
            return None
        found: list[Dataset] = []
        responses = self._assoc.send_c_find(query, STUDY_ROOT_FIND, msg_id=self._next_id())
        for response, answer in responses:
            status = self._status_of(response)
            if status in _PENDING and answer is not None:
                found.append(answer)
            elif status not in _PENDING and status != 0x0000:
                return None
        return found

    def get(self, query: Dataset, size_bytes: int) -> int:
        """C-GET at the study root into `received`; return the final status.

        Raises
        ------
        DeliveryFailed
            NO_ANSWER, if the answer broke off.
        """
        self._allow(size_bytes)
        final = 0x0000
        responses = self._assoc.send_c_get(query, STUDY_ROOT_GET, msg_id=self._next_id())
        for response, _ in responses:
            status = self._status_of(response)
            final = final if status in _PENDING else status
        return final

    def take(self, event: Any) -> int:
        """Keep one object that C-GET brings; return success."""
        uid = str(event.request.AffectedSOPInstanceUID)
        self.received[uid] = _part10(event)
        return 0x0000

    def _allow(self, size_bytes: int) -> None:
        timeout = self._timeout_s + size_bytes / _SLOWEST_BYTES_PER_S
        self._assoc.dimse_timeout = timeout
        self._assoc.network_timeout = timeout

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _status_of(self, response: Dataset) -> int:
        if "Status" not in response:
            raise failure(Verdict.NO_ANSWER, "the connection broke before an answer came")
        return int(response.Status)


@contextmanager
def associated(
    settings: DestinationSettings,
    calling_ae: str,
    contexts: Sequence[PresentationContext],
    roles: Sequence[Any] = (),
) -> Iterator[Link]:
    """Open an association and release it at the end.

    A peer that accepts none of `contexts` is no error: `Link.accepts` then says no.

    Raises
    ------
    DeliveryFailed
        UNREACHABLE (nobody there, or turned away for now) or NOT_ADMITTED (rejected for good).
    """
    link: Link | None = None

    def take(event: Any) -> int:
        return link.take(event) if link else 0x0110

    with quiet_pydicom():
        assoc = _associate(settings, calling_ae, contexts, roles, take)
        link = Link(assoc, settings.timeout_s)
        try:
            yield link
        finally:
            if assoc.is_established:
                assoc.release()


def _associate(
    settings: DestinationSettings,
    calling_ae: str,
    contexts: Sequence[PresentationContext],
    roles: Sequence[Any],
    take: Any,
) -> Any:
    entity = AE(ae_title=calling_ae)
    entity.acse_timeout = entity.dimse_timeout = settings.timeout_s
    entity.connection_timeout = entity.network_timeout = settings.timeout_s
    # Echo is offered too: with no accepted context at all the library aborts.
    entity.add_requested_context(_VERIFICATION)
    try:
        assoc = entity.associate(
            settings.host,
            settings.port,
            contexts=[*entity.requested_contexts, *contexts],
            ae_title=settings.ae_title,
            max_pdu=_MAX_PDU_BYTES,
            ext_neg=list(roles) or None,
            evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay), (evt.EVT_C_STORE, take)],
        )
    except OSError as error:  # a host name that does not resolve
        raise failure(
            Verdict.UNREACHABLE, f"cannot be reached ({error.strerror or 'unknown host'})"
        ) from None
    if assoc.is_established or assoc.rejected_contexts:
        return assoc
    raise (
        _rejection(assoc)
        if assoc.is_rejected
        else failure(Verdict.UNREACHABLE, "cannot be reached, or answers no association")
    )


def _rejection(assoc: Any) -> Exception:
    answer = assoc.acceptor.primitive
    if answer.result == _TRANSIENT:
        return failure(Verdict.UNREACHABLE, f"rejects associations for now: {answer.reason_str}")
    return failure(Verdict.NOT_ADMITTED, f"rejects our association: {answer.reason_str}")


def _without_delay(event: Any) -> None:
    # Nagle's algorithm would hold back each request for 40 ms.
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _part10(event: Any) -> bytes:
    """Return a received object as a file of its own."""
    path = getattr(event.request, "_dataset_path", None)
    if path is not None:  # the receiver's switch for large objects, if it runs in our process
        return bytes(Path(path).read_bytes())
    return bytes(event.encoded_dataset())
