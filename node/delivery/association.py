"""One association as SCU: store, find and get on it, each failure a `DeliveryFailed`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

from node.delivery.answers import Verdict, failure
from node.dicom.headers import quiet_pydicom
from node.dicom.network import VERIFICATION, RemoteAE, associate, send_file
from node.errors import DeliveryFailed
from node.settings import DestinationSettings

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
_PENDING = (0xFF00, 0xFF01)
#: Slowest link that is not given up, bytes/s: the timeout for the answer runs from the moment
#: the object is queued, not from the moment it is sent.
_SLOWEST_BYTES_PER_S = 100_000.0


def remote_of(settings: DestinationSettings, own_ae: str) -> RemoteAE:
    """Return how a destination is called; `own_ae` where it asks for no AE title of ours."""
    return RemoteAE(
        host=settings.host,
        port=settings.port,
        ae_title=settings.ae_title,
        calling_ae=settings.calling_ae or own_ae,
        timeout_s=settings.timeout_s,
    )


class Link:
    """An association to a peer, as far as it came about.

    Parameters
    ----------
    assoc : pynetdicom.association.Association or None
        None: the peer answered, but accepts nothing of what we proposed.
    timeout_s : float
        For one answer to a small request.
    received : dict
        Where C-GET leaves Part-10 bytes by SOP Instance UID.
    """

    def __init__(self, assoc: Any, timeout_s: float, received: dict[str, bytes]):
        self._assoc = assoc
        self._timeout_s = timeout_s
        self._message_id = 0
        self.received = received

    def accepts(self, sop_class_uid: str, syntax: str = "", *, as_scp: bool = False) -> bool:
        """Return whether the peer takes that class (in that transfer syntax) from us.

        With `as_scp`: whether it would send it to us over this association.
        """
        return self._assoc is not None and any(
            context.abstract_syntax == sop_class_uid
            and (not syntax or context.transfer_syntax[0] == syntax)
            and (context.as_scp if as_scp else context.as_scu)
            for context in self._assoc.accepted_contexts
        )

    def store(self, path: Path, size_bytes: int) -> int:
        """C-STORE the bytes of a file as they are (S1); return the status.

        Raises
        ------
        DeliveryFailed
            NO_ANSWER, if none came.
        """
        self._allow(size_bytes)
        try:
            return send_file(self._assoc, path, message_id=self._next_id())
        except DeliveryFailed as error:
            raise failure(Verdict.NO_ANSWER, str(error)) from None

    def find(self, query: Dataset) -> list[Dataset] | None:
        """C-FIND at the study root; None if the peer answers no such query.

        Raises
        ------
        DeliveryFailed
            NO_ANSWER, if the answer broke off.
        """
        if not self.accepts(STUDY_ROOT_FIND):
            return None
        self._allow(0)
        found: list[Dataset] = []
        responses = self._assoc.send_c_find(query, STUDY_ROOT_FIND, msg_id=self._next_id())
        for response, answer in responses:
            status = _status_of(response)
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
            status = _status_of(response)
            final = final if status in _PENDING else status
        return final

    def _allow(self, size_bytes: int) -> None:
        """Wait for the next answer as long as an object of that size may need."""
        if not self._assoc.is_established:
            raise failure(Verdict.NO_ANSWER, "the connection broke before its turn")
        timeout = self._timeout_s + size_bytes / _SLOWEST_BYTES_PER_S
        self._assoc.dimse_timeout = timeout
        self._assoc.network_timeout = timeout

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id


@contextmanager
def associated(
    remote: RemoteAE, contexts: Sequence[PresentationContext], retrievable: Sequence[str] = ()
) -> Iterator[Link]:
    """Open an association and release it at the end.

    A peer that accepts none of `contexts` is no error: `Link.accepts` then says no.

    Parameters
    ----------
    retrievable : sequence of str
        SOP classes that C-GET may bring.

    Raises
    ------
    DeliveryFailed
        UNREACHABLE (nobody there, or turned away for now) or NOT_ADMITTED (rejected for good).
    """
    received: dict[str, bytes] = {}

    def keep(event: Any) -> int:
        received[str(event.request.AffectedSOPInstanceUID)] = event.encoded_dataset()
        return 0x0000

    with quiet_pydicom(), ExitStack() as stack:
        # Echo is offered too: a peer that takes none of our classes still lets us in.
        proposed = [build_context(VERIFICATION), *contexts]
        assoc = None
        try:
            assoc = stack.enter_context(
                associate(remote, proposed, retrievable=retrievable, on_store=keep)
            )
        except DeliveryFailed as error:
            if error.code != "CONTEXT_REJECTED":
                raise _translated(error) from None
        except OSError as error:  # a host name that does not resolve
            words = error.strerror or "unknown host"
            raise failure(Verdict.UNREACHABLE, f"cannot be reached ({words})") from None
        yield Link(assoc, remote.timeout_s, received)


def _translated(error: DeliveryFailed) -> DeliveryFailed:
    for_good = error.code == "ASSOCIATION_REJECTED" and not error.retry
    return failure(Verdict.NOT_ADMITTED if for_good else Verdict.UNREACHABLE, str(error))


def _status_of(response: Dataset) -> int:
    if "Status" not in response:
        raise failure(Verdict.NO_ANSWER, "the connection broke before an answer came")
    return int(response.Status)
