"""Associations that we request, and objects sent over them past the library's queues.

The library copies an object four times, wakes two threads for every piece of it, and polls
for the answer with 1 ms sleeps (E6); here the caller's thread writes to the socket from what
it read, and the connection's thread sleeps until the answer is there.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.transport import AddressInformation, AssociationSocket

from node.dicom.part10 import Part10, parse_part10
from node.dicom.reactor import EagerSocket, EventDul, hand_to_library
from node.dicom.wire import (
    COMMAND,
    LAST,
    StoreAnswer,
    StoreRequest,
    data_head,
    fragments,
    parse_store_response,
    store_request,
)
from node.errors import DeliveryFailed

#: How long a parked thread sleeps before it looks whether its association has ended.
_LOOK_S: Final = 0.05

#: Read and sent at once.
_READ_BYTES: Final = 1 << 20
#: Most data in one PDU to a peer that sets no limit.
_LONGEST_DATA: Final = 1 << 17
_ITEM_BYTES: Final = 6
#: Most PDUs in one system call: the kernel takes 1,024 pieces.
_PDUS_AT_ONCE: Final = 500


class CallingAE(AE):
    """An application entity whose associations wait on their socket instead of polling it."""

    def _create_socket(
        self, assoc: Association, address: AddressInformation, tls_args: Any
    ) -> AssociationSocket:
        assoc.dul = EventDul(assoc, threading.Event(), _Answers(assoc).take)
        assoc.acse_timeout, assoc.network_timeout = self.acse_timeout, self.network_timeout
        wire = EagerSocket(assoc, address=address)
        wire.tls_args = tls_args
        return wire


class _Answers:
    """Takes what a peer answers; plain answers to a C-STORE need no decoding."""

    def __init__(self, assoc: Association):
        self._assoc = assoc

    def take(self, body: memoryview) -> None:
        """Take a P-DATA-TF's items, in the connection's thread."""
        for context_id, control, data in fragments(body):
            answer = None
            if control == COMMAND | LAST and self._assoc.dimse.message is None:
                answer = parse_store_response(data)
            if answer is None:
                hand_to_library(self._assoc, context_id, control, data)
            else:
                queued: Any = (context_id, answer)
                self._assoc.dimse.msg_queue.put(queued)


def send_file(assoc: Association, path: Path, *, message_id: int = 1) -> int:
    """C-STORE the bytes of a file as they are (S1); return the peer's status.

    Needs as little memory for a large object as for a small one.

    Raises
    ------
    DeliveryFailed
        If the peer did not accept the object's kind, or the association broke.
    """
    with path.open("rb", buffering=0) as stream:
        start = stream.read(_READ_BYTES)
        part10 = parse_part10(start)
        context_id = _context_for(assoc, part10)
        request = StoreRequest(
            message_id=message_id,
            sop_class_uid=part10.sop_class_uid,
            sop_instance_uid=part10.sop_instance_uid,
        )
        size = os.fstat(stream.fileno()).st_size - part10.dataset_offset
        pieces = _data_pdus(
            _chunks(memoryview(start)[part10.dataset_offset :], stream),
            size,
            context_id,
            _longest_data(assoc),
        )
        return _exchange(assoc, store_request(context_id, request), pieces, message_id)


def read_ahead(path: Path) -> None:
    """Ask the system to read a file that is sent soon."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


def _context_for(assoc: Association, part10: Part10) -> int:
    for context in assoc.accepted_contexts:
        if (
            context.abstract_syntax == part10.sop_class_uid
            and context.transfer_syntax[0] == part10.transfer_syntax_uid
        ):
            return context.context_id or 0
    raise DeliveryFailed(
        "the peer does not take this kind of object", retry=False, code="CONTEXT_REJECTED"
    )


def _longest_data(assoc: Association) -> int:
    """Return how much data fits into a PDU; the peer said how large one may be (PS3.8 D.1)."""
    limit = assoc.acceptor.maximum_length or 0
    longest = min(limit - _ITEM_BYTES, _LONGEST_DATA) if limit else _LONGEST_DATA
    return max(2, longest - longest % 2)


def _chunks(first: memoryview, stream: Any) -> Iterator[memoryview]:
    if len(first):
        yield first
    while piece := stream.read(_READ_BYTES):
        yield memoryview(piece)


def _data_pdus(
    chunks: Iterator[memoryview], size: int, context_id: int, longest: int
) -> Iterator[list[bytes | memoryview]]:
    """Yield lists of buffers to send, heads and data by turns; the last PDU says so."""
    if not size:
        yield [data_head(context_id, LAST, 0)]
    sent = 0
    batch: list[bytes | memoryview] = []
    for chunk in chunks:
        for start in range(0, len(chunk), longest):
            data = chunk[start : start + longest]
            sent += len(data)
            batch += [data_head(context_id, LAST if sent >= size else 0, len(data)), data]
            if len(batch) >= 2 * _PDUS_AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch
            batch = []
    if sent < size:
        raise DeliveryFailed("the file became shorter", retry=True, code="FILE_CHANGED")


def _exchange(
    assoc: Association,
    command: bytes,
    pieces: Iterator[list[bytes | memoryview]],
    message_id: int,
) -> int:
    wire = assoc.dul.socket
    connection = wire.socket if wire is not None else None
    if connection is None:
        raise _lost(assoc)
    try:
        waiting: list[bytes | memoryview] = [command]
        for batch in pieces:
            _send(connection, waiting + batch, assoc.dimse_timeout)
            waiting = []
        _send(connection, waiting, assoc.dimse_timeout)
    except OSError:
        raise _lost(assoc) from None
    _, response = assoc.dimse.get_msg(block=True)
    answer: Any = response
    if isinstance(answer, StoreAnswer) and answer.message_id == message_id:
        return answer.status
    status = getattr(answer, "Status", None)
    if status is None:
        raise _lost(assoc)
    return int(status)


class _Parking(threading.Event):
    """Keeps an association's own thread from ever taking an answer that we wait for.

    pynetdicom 3.0.4: every `send_*` pauses that thread and lets it go again at its end. A
    thread that was let go but has not run yet still counts as paused at the next `send_*`, and
    takes its answer ("Received unexpected C-FIND service message"). A requestor needs nothing
    of what that thread looks after, so it stays parked until the association ends.
    """

    def __init__(self, assoc: Association):
        super().__init__()
        self._assoc = assoc
        self._entered = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Return when the association has ended, whatever `timeout` says."""
        self._entered.set()
        while not self._assoc._kill:
            super().wait(_LOOK_S)
        return True

    def set(self) -> None:
        """Do not let the thread go: the library asks for it after each request."""

    def until_parked(self) -> None:
        """Return when the thread is here."""
        while not self._entered.wait(_LOOK_S) and not self._assoc._kill:
            pass


def park_reactor(assoc: Association) -> None:
    """Stop the association's own thread for good; to be called before the first request."""
    parking = _Parking(assoc)
    assoc._reactor_checkpoint = parking
    parking.until_parked()


def _lost(assoc: Association) -> DeliveryFailed:
    return DeliveryFailed(
        "the association broke while sending", retry=True, code="ASSOCIATION_LOST"
    )


def _send(
    connection: socket.socket, buffers: list[bytes | memoryview], timeout_s: float | None
) -> None:
    """Send all; raise OSError if the peer is gone, or takes nothing for so long."""
    rest = [memoryview(buffer) for buffer in buffers]
    while rest:
        try:
            count = connection.sendmsg(rest, (), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            _wait_until_writable(connection, timeout_s)
            continue
        while rest and count >= len(rest[0]):
            count -= len(rest.pop(0))
        if count:
            rest[0] = rest[0][count:]


def _wait_until_writable(connection: socket.socket, timeout_s: float | None) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    if not poll.poll(None if timeout_s is None else 1000 * timeout_s):
        raise TimeoutError("the peer takes no more")
