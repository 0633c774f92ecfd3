"""Presentation contexts in the right order, and associations that we request."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AllStoragePresentationContexts, evt
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext, build_context, build_role
from pynetdicom.transport import AssociationSocket

from node.dicom.outbound import CallingAE, park_reactor, read_ahead, send_file
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.errors import DeliveryFailed

__all__ = [
    "MAX_CONTEXTS",
    "TRANSFER_SYNTAXES",
    "VERIFICATION",
    "RemoteAE",
    "acceptable_contexts",
    "associate",
    "is_storage",
    "read_ahead",
    "requested_contexts",
    "send_file",
]

VERIFICATION: Final = "1.2.840.10008.1.1"
#: Most contexts that one request can carry: odd numbers below 256 (PS3.8 9.3.2.2).
MAX_CONTEXTS: Final = 128
#: The longest PDU that we take from a peer that we call (C-GET).
_PDU_BYTES: Final = 1 << 17
_STANDARD_ROOT: Final = "1.2.840.10008."
_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_STORAGE_CLASSES: Final = frozenset(
    str(cx.abstract_syntax) for cx in AllStoragePresentationContexts
)

_LOSSLESS: Final = (
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 part 2 lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless RPCL
    "1.2.840.10008.1.2.4.110",  # JPEG XL lossless
    "1.2.840.10008.1.2.8.1",  # deflated frames
)
_FIRST: Final = (
    str(ExplicitVRLittleEndian),
    str(ImplicitVRLittleEndian),
    str(DeflatedExplicitVRLittleEndian),
    *_LOSSLESS,
)
_LAST: Final = str(ExplicitVRBigEndian)

#: In the order in which we choose from what a peer offers (S11): uncompressed, lossless,
#: lossy (whatever else the library knows), big endian.
TRANSFER_SYNTAXES: Final[tuple[str, ...]] = (
    *_FIRST,
    *(ts for ts in map(str, ALL_TRANSFER_SYNTAXES) if ts not in _FIRST and ts != _LAST),
    _LAST,
)


def is_storage(abstract_syntax: str) -> bool:
    """Return whether objects of this class are stored: every standard one and private ones.

    Examples
    --------
    >>> is_storage("1.2.840.10008.5.1.4.1.1.66.7"), is_storage("1.2.840.113619.4.30")
    (True, True)
    >>> is_storage("1.2.840.10008.5.1.4.1.2.2.1")
    False
    """
    return (
        abstract_syntax in _STORAGE_CLASSES
        or abstract_syntax.startswith(_STORAGE_ROOT)
        or not abstract_syntax.startswith(_STANDARD_ROOT)
    )


def acceptable_contexts(requested: Iterable[PresentationContext]) -> list[PresentationContext]:
    """Return what we support of a peer's proposals, ready for negotiation in our order.

    A transfer syntax that nobody here knows is taken after the lossy ones: the object is
    kept as received, whoever reads it decides.
    """
    proposed: dict[str, list[str]] = {}
    for context in requested:
        proposed.setdefault(str(context.abstract_syntax), []).extend(
            str(syntax) for syntax in context.transfer_syntax
        )
    return [
        build_context(abstract, _in_our_order(syntaxes))
        for abstract, syntaxes in proposed.items()
        if abstract == VERIFICATION or is_storage(abstract)
    ]


def _in_our_order(syntaxes: Iterable[str]) -> list[str]:
    rank = {syntax: position for position, syntax in enumerate(TRANSFER_SYNTAXES)}
    unknown = rank[_LAST] - 0.5
    return sorted(dict.fromkeys(syntaxes), key=lambda syntax: rank.get(syntax, unknown))


# --- associations that we request --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RemoteAE:
    """Whom we call, and as whom."""

    host: str
    port: int
    ae_title: str
    calling_ae: str
    timeout_s: float = 30.0


def requested_contexts(pairs: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """Return one context per (SOP class, transfer syntax) that will be sent.

    One each, so that the peer cannot take a class in an encoding that we would have to make.

    Raises
    ------
    DeliveryFailed
        If there are more than one association carries.
    """
    wanted = list(dict.fromkeys(pairs))
    if len(wanted) > MAX_CONTEXTS:
        raise DeliveryFailed(
            f"{len(wanted)} kinds of objects, an association carries {MAX_CONTEXTS}",
            retry=False,
            code="TOO_MANY_CONTEXTS",
        )
    return [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]


@contextmanager
def associate(
    remote: RemoteAE,
    contexts: Sequence[PresentationContext],
    *,
    retrievable: Sequence[str] = (),
    on_store: Callable[[evt.Event], int] | None = None,
) -> Iterator[Association]:
    """Open an association without Nagle's delay; release it at the end, abort on an error.

    Parameters
    ----------
    retrievable : sequence of str
        SOP classes that the peer may send us by C-GET over this association.
    on_store : callable, optional
        Gets each object that C-GET brings, returns the status to answer.

    Raises
    ------
    DeliveryFailed
        If the peer is not there, rejects, or accepts no context; `retry` says whether to
        come again.
    """
    ae = CallingAE(ae_title=remote.calling_ae)
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = ae.acse_timeout = remote.timeout_s
    ae.dimse_timeout = ae.network_timeout = remote.timeout_s
    rejections: list[A_ASSOCIATE_RJ] = []
    assoc = ae.associate(
        remote.host,
        remote.port,
        contexts=list(contexts),
        ae_title=remote.ae_title,
        max_pdu=_PDU_BYTES,
        ext_neg=[build_role(uid, scp_role=True) for uid in retrievable],
        evt_handlers=[
            (evt.EVT_CONN_OPEN, _no_delay),
            (evt.EVT_PDU_RECV, keep_rejection, [rejections]),
            *([(evt.EVT_C_STORE, on_store)] if on_store else []),
        ],
    )
    if not assoc.is_established:
        raise _why_not(assoc, rejections)
    park_reactor(assoc)
    done = False
    try:
        yield assoc
        done = True
    finally:
        if assoc.is_established:
            if done:
                assoc.release()
            else:
                assoc.abort()


def _close_always(self: AssociationSocket) -> None:
    # The library's own leaves sockets open whose connection was refused: shutdown() fails
    # there, and its close() behind it is never reached.
    if self.socket is not None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


AssociationSocket._shutdown_socket = _close_always  # type: ignore[method-assign]


def _no_delay(event: evt.Event) -> None:
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def keep_rejection(event: evt.Event, rejections: list[A_ASSOCIATE_RJ]) -> None:
    """Keep the PDU of a rejection: what the library says of it afterwards depends on chance.

    A requestor whose thread wakes only after the rejection has closed the connection takes it for
    one that never opened, and forgets the answer.
    """
    if isinstance(event.pdu, A_ASSOCIATE_RJ):
        rejections.append(event.pdu)


def _why_not(assoc: Association, rejections: Sequence[A_ASSOCIATE_RJ]) -> DeliveryFailed:
    if rejections:
        answer = rejections[-1].to_primitive()
        reason = answer.reason_str
        # Permanent rejections need a person, transient ones time (PS3.8 9.3.4).
        return DeliveryFailed(
            f"the peer rejected the association: {reason}",
            retry=answer.result == 0x02,
            code="ASSOCIATION_REJECTED",
        )
    if assoc.rejected_contexts and not assoc.accepted_contexts:
        return DeliveryFailed(
            "the peer takes none of these kinds of objects", retry=False, code="CONTEXT_REJECTED"
        )
    return DeliveryFailed("the peer cannot be reached", retry=True, code="PEER_UNREACHABLE")
