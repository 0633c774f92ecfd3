"""pynetdicom's two loops without their sleeps: threads wait on socket and queue (E6).

Stock pynetdicom 3.0.4 polls with 1 ms sleeps in `dul.run_reactor` and
`association._run_reactor`, half of its receive time; here a bell wakes them. A requestor gets
the first loop only: its `send_*` methods count on the second one as it is. Uses names that
pynetdicom keeps private: its version is pinned, and the tests of the receiver run over this file.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from node.dicom.wire import DATA_PDU, fragments
from node.logs import get_logger

log = get_logger(__name__)

#: The longest sleep: timers are looked at so often.
_LOOK_S = 0.5
#: One read from the socket; PDUs larger than this grow by as much as really comes.
_READ_BYTES = 1 << 18
_PDU_HEAD = struct.Struct(">BBL")
#: No PDU of an honest peer is larger: ours are announced with less, requests are small.
_LARGEST_PDU = 64 << 20


class Bell:
    """Wakes a thread that waits in `poll`."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._lock = threading.Lock()
        self._closed = False
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._polled = -1

    def ring(self) -> None:
        """Wake the waiting thread, or keep it from falling asleep."""
        with self._lock, contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            if not self._closed:
                os.write(self._write, b"!")

    def wait(self, descriptor: int, seconds: float) -> None:
        """Sleep until the bell rings, `descriptor` (-1: none) can be read, or time is up."""
        if descriptor != self._polled:
            if self._polled >= 0:
                self._poll.unregister(self._polled)
            if descriptor >= 0:
                self._poll.register(descriptor, select.POLLIN)
            self._polled = descriptor
        if any(found == self._read for found, _ in self._poll.poll(seconds * 1000)):
            os.read(self._read, 4096)

    def close(self) -> None:
        """Give the pipe back; rings no more."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._read)
                os.close(self._write)


class RingingQueue(queue.Queue[Any]):
    """A queue that sets an event whenever something comes in."""

    def __init__(self, event: threading.Event):
        super().__init__()
        self._event = event

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put and wake."""
        super().put(item, block, timeout)
        self._event.set()


class EagerSocket(AssociationSocket):
    """Reads what is there in large pieces instead of 4 KiB, and hands out P-DATA uncopied."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._start = self._end = 0
        self._poll = select.poll()
        self._polled = -1

    @property
    def ready(self) -> bool:
        """Return whether something can be read."""
        return self._end > self._start or super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """Read `nr_bytes`, or fewer if the connection ends.

        Raises
        ------
        OSError
            If a PDU claims to be larger than any honest one, or nothing comes for too long.
        """
        if nr_bytes > _LARGEST_PDU:
            raise OSError("PDU too large")
        connection = self.socket
        if connection is None:
            raise OSError("connection closed")
        stop = min(self._end, self._start + nr_bytes)
        received = bytearray(self._buffer[self._start : stop])
        self._start = stop
        while len(received) < nr_bytes:
            piece = connection.recv(min(nr_bytes - len(received), _READ_BYTES))
            if not piece:
                break
            received += piece
        return received

    def data_pdu(self) -> memoryview | None:
        """Return the body of the next PDU if it is a P-DATA-TF of ordinary size.

        Valid until the next call. None: nothing is there, or something else is, or the
        connection ended, all of which the library's own way finds out.
        """
        if self._end - self._start < _PDU_HEAD.size and not self._read(waiting=False):
            return None
        if self._end - self._start < _PDU_HEAD.size:
            return None
        kind, _, length = _PDU_HEAD.unpack_from(self._buffer, self._start)
        if kind != DATA_PDU or length > _READ_BYTES - _PDU_HEAD.size:
            return None
        while self._end - self._start < _PDU_HEAD.size + length:
            if not self._read(waiting=True):
                return None
        body = self._buffer[self._start + _PDU_HEAD.size : self._start + _PDU_HEAD.size + length]
        self._start += _PDU_HEAD.size + length
        return body

    def _read(self, *, waiting: bool) -> bool:
        """Read once into the buffer; return whether something came."""
        connection = self.socket
        if connection is None or not (waiting or self._readable(connection.fileno())):
            return False
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end > _READ_BYTES // 2:
            left = self._end - self._start
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        try:
            count = connection.recv_into(self._buffer[self._end :])
            # A peer without TCP_NODELAY keeps the rest of an object back until what came is
            # confirmed; the kernel forgets this wish, so it is told each time.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            return False
        self._end += count
        return count > 0

    def _readable(self, descriptor: int) -> bool:
        if descriptor < 0:
            return False
        if descriptor != self._polled:
            self._poll.register(descriptor, select.POLLIN)
            self._polled = descriptor
        return bool(self._poll.poll(0))


class EventDul(DULServiceProvider):
    """The upper layer's thread, asleep while nothing happens.

    Parameters
    ----------
    assoc : Association
        Whose connection it serves.
    work : Event
        Set whenever something came for the association's own thread.
    take_data : callable
        Takes the body of each P-DATA-TF; raises ValueError if it is malformed.
    """

    def __init__(
        self, assoc: Association, work: threading.Event, take_data: Callable[[memoryview], None]
    ):
        super().__init__(assoc)
        self._take = take_data
        self._work = work
        self.daemon = True
        self.to_user_queue = RingingQueue(work)
        self._bell = Bell()

    def send_pdu(self, primitive: Any) -> None:
        """Hand a primitive to the thread."""
        super().send_pdu(primitive)
        self._bell.ring()

    def kill_dul(self) -> None:
        """End the thread."""
        super().kill_dul()
        self._bell.ring()

    def stop_dul(self) -> bool:
        """End the thread if the connection is closed; return whether it was."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()
        return True

    def run_reactor(self) -> None:
        """Serve the connection until killed."""
        self._idle_timer.start()
        self.assoc._dul_ready.set()
        try:
            while not self._kill_thread:
                if not self._turn():
                    self._bell.wait(self._descriptor(), _LOOK_S)
                elif self.state_machine.current_state == "Sta1":
                    # Closed: who still waits for an association request waits in vain.
                    self.to_user_queue.put(None)  # type: ignore[arg-type]
                    return
        finally:
            self._bell.close()
            self._work.set()

    def _descriptor(self) -> int:
        connection = self.socket.socket if self.socket is not None else None
        return connection.fileno() if connection is not None else -1

    def _turn(self) -> bool:
        """Do one thing; return whether there was one."""
        if self.artim_timer.expired:
            self.event_queue.put("Evt18")
        try:
            if self._take_data():
                return True
            if not self._process_recv_primitive() and self._is_transport_event():
                self._idle_timer.restart()
            self.state_machine.do_action(self.event_queue.get_nowait())
        except queue.Empty:
            return False
        except Exception as error:  # noqa: BLE001 - border: whatever a peer's bytes provoke
            log.error("connection broken", error=type(error).__name__)
            self._give_up()
        return True

    def _take_data(self) -> bool:
        """Hand on a P-DATA-TF that came, as DT-2 would; return whether there was one."""
        wire = self.socket
        if (
            self.state_machine.current_state != "Sta6"
            or not isinstance(wire, EagerSocket)
            or self.to_provider_queue.qsize()
            or self.event_queue.qsize()
        ):
            return False
        body = wire.data_pdu()
        if body is None:
            return False
        self._idle_timer.restart()
        try:
            self._take(body)
        except ValueError:
            self.event_queue.put("Evt19")  # invalid PDU: the state machine aborts
        return True

    def _give_up(self) -> None:
        # As stock does: the state machine cannot be trusted any more.
        abort = A_ABORT_RQ()
        abort.source = 0x02
        abort.reason_diagnostic = 0x00
        if self.socket is not None and self._descriptor() >= 0:
            self.socket.send(abort.encode())
        self.assoc.is_aborted = True
        self.assoc.is_established = False
        self.assoc._kill = True
        self._kill_thread = True


class EventAssociation(Association):
    """An accepted association, asleep while nothing happens."""

    def __init__(self, ae: ApplicationEntity, mode: str):
        self.work = threading.Event()
        super().__init__(ae, mode)
        self.dul = EventDul(self, self.work, self.take_data)
        self.dimse.msg_queue = RingingQueue(self.work)
        # The setters above spoke to the stock provider.
        self.acse_timeout = ae.acse_timeout
        self.network_timeout = ae.network_timeout

    @property
    def is_working(self) -> bool:
        """Return whether the peer is silent because it waits for us."""
        return False

    def take_data(self, body: memoryview) -> None:
        """Take a P-DATA-TF's items, in the connection's thread; `body` is gone afterwards.

        Raises
        ------
        ValueError
            If they do not end where they say.
        """
        for context_id, control, data in fragments(body):
            hand_to_library(self, context_id, control, data)

    def _bind_defaults(self) -> None:
        # Without the default logging of requests: it quotes UIDs (S28) and costs time.
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    def _run_reactor(self) -> None:
        self._is_paused = False
        while not self._kill:
            self.work.wait(_LOOK_S)
            self.work.clear()
            self._turn()

    def _turn(self) -> None:
        """Serve what came in, then look whether the association goes on."""
        while True:
            context_id, message = self.dimse.get_msg(block=False)
            if message is None or context_id is None:
                break
            self._serve_request(message, context_id)
        if self.is_established and self.acse.is_release_requested():
            self.acse.send_release(is_response=True)
            self.is_released = True
            self.is_established = False
            evt.trigger(self, evt.EVT_RELEASED, {})
            self.kill()
        elif self.acse.is_aborted():
            self.dul.receive_pdu(wait=False)
            self.is_aborted = True
            self.is_established = False
            evt.trigger(self, evt.EVT_ABORTED, {})
            self.kill()
        elif not self.dul.is_alive():
            self.kill()
        elif not self.is_working and self.dul.idle_timer_expired():
            self.abort()


def hand_to_library(assoc: Association, context_id: int, control: int, data: memoryview) -> None:
    """Give one fragment of a message to the library's own assembly (PS3.8 E.2)."""
    part: Any = P_DATA()  # typed as tuples, checked as lists
    part.presentation_data_value_list = [[context_id, bytes((control,)) + data]]
    assoc.dimse.receive_primitive(part)
