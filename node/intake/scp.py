"""The receiver process: C-ECHO and C-STORE on one listening socket (E5)."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.presentation import build_context
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from node.dicom.network import VERIFICATION
from node.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from node.dicom.reactor import EagerSocket
from node.errors import NodeError
from node.intake.acceptor import Acceptor, Desk
from node.intake.receive import Intake
from node.intake.unfinished import tidy_incoming
from node.logs import get_logger
from node.settings import Settings
from node.storage.database import Database, process_token
from node.storage.files import Files
from node.storage.presence_rows import clear_receiver, open_associations

log = get_logger(__name__)

#: A connection must ask for its association within so many seconds.
_ASSOCIATION_REQUEST_S = 10.0
#: Connections that have not associated yet, beside the admitted associations.
_SILENT_CONNECTIONS = 64
#: While draining, an association that was quiet for so long is between studies.
_QUIET_S = 2.0


class Receiver:
    """One receiver of a node; several may share a listening socket.

    Parameters
    ----------
    settings, database, files
        As opened by the process.
    listen_socket : socket, optional
        Bound and listening, inherited from the supervisor; None: bind by the settings.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        files: Files,
        listen_socket: socket.socket | None = None,
    ):
        self._settings = settings
        self._files = files
        self._listener = listen_socket
        self._thread: threading.Thread | None = None
        self._server: _Server | None = None
        self.desk = Desk(
            settings=settings,
            db=database,
            intake=Intake(database, files, settings.receive),
            receiver=process_token(),
        )

    @property
    def port(self) -> int:
        """Return the port we listen on."""
        if self._server is None:
            raise RuntimeError("the receiver is not started")
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Accept associations from now on; returns at once."""
        os.umask(0o077)
        self._files.prepare()
        self._tidy()
        clear_dead_receivers(self.desk.db)
        listener = self._listener or socket.create_server(
            (self._settings.bind, self._settings.port), backlog=128
        )
        self._server = _Server(_application_entity(self._settings), listener, self.desk)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="listener", daemon=True
        )
        self._thread.start()
        log.info("receiver started", port=self.port)

    def _tidy(self) -> None:
        """Clear up after a receiver that died, and be ready for the first object."""
        try:
            tidy_incoming(self.desk.db, self._files, now=time.time())
            self.desk.intake.names.prepare()
        except (NodeError, OSError) as error:  # a full disk: answer A700 rather than nothing
            log.error("alarm: incoming/ was not tidied", error=type(error).__name__)

    def stop(self, drain_s: float = 10.0) -> None:
        """Accept no more, let objects under way finish, then close what is still open."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        deadline = time.monotonic() + drain_s
        while acceptors := self._server.acceptors():
            now = time.monotonic()
            for acceptor in acceptors:
                quiet = not acceptor.is_busy and now - acceptor.last_served >= _QUIET_S
                if quiet or now >= deadline:
                    acceptor.end()
            time.sleep(0.02)
        self.desk.intake.close()
        clear_receiver(self.desk.db, self.desk.receiver)
        self._server = None
        log.info("receiver stopped")


def clear_dead_receivers(db: Database) -> int:
    """Forget associations of receivers that died on this machine; return how many."""
    host = os.uname().nodename
    cleared = 0
    for receiver in {row.receiver for row in open_associations(db)}:
        machine, pid, _ = receiver.rsplit(":", 2)
        if machine == host and not Path(f"/proc/{pid}").exists():
            cleared += clear_receiver(db, receiver)
    return cleared


def _application_entity(settings: Settings) -> AE:
    ae = AE(ae_title=settings.ae_titles[0])
    ae.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.maximum_pdu_size = settings.receive.max_pdu_bytes
    ae.network_timeout = settings.receive.idle_timeout_s
    ae.dimse_timeout = settings.receive.idle_timeout_s
    ae.acse_timeout = _ASSOCIATION_REQUEST_S
    # The desk counts, over all processes; this only bounds silent connections.
    ae.maximum_associations = settings.receive.max_associations + _SILENT_CONNECTIONS
    ae.supported_contexts = [build_context(VERIFICATION)]
    return ae


class _Handler(RequestHandler):
    """Turns a connection into an `Acceptor`."""

    server: _Server

    def _create_association(self) -> Acceptor:
        connection: Any = self.request
        connection.settimeout(self.ae.network_timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assoc = Acceptor(self.ae, MODE_ACCEPTOR, self.server.desk)
        assoc._server = self.server
        assoc.name = f"AcceptorThread@{id(assoc)}"
        assoc.set_socket(EagerSocket(assoc, client_socket=connection))
        assoc.acceptor.maximum_length = self.ae.maximum_pdu_size
        assoc.acceptor.ae_title = self.server.ae_title
        assoc.acceptor.address_info = self.local
        assoc.acceptor.implementation_class_uid = self.ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = self.ae.implementation_version_name
        assoc.requestor.address_info = self.remote
        assoc.bind(evt.EVT_C_ECHO, _echo)
        return assoc


def _echo(_event: evt.Event) -> int:
    return 0x0000


class _Server(ThreadedAssociationServer):
    """Accepts on a socket that others may listen on too: never binds, never shuts it down."""

    daemon_threads = True

    def __init__(self, ae: AE, listener: socket.socket, desk: Desk):
        self._listener = listener
        self.desk = desk
        address = listener.getsockname()
        super().__init__(ae, address, ae.ae_title, ae.supported_contexts, None, None, _Handler)

    def server_bind(self) -> None:
        """Take the listening socket in place of the one just made."""
        if self.socket is not None:
            self.socket.close()
        self.socket = self._listener
        # Every receiver wakes for a connection, one gets it: the others must not hang.
        self.socket.setblocking(False)
        self.server_address = self.socket.getsockname()
        self.address_info = AddressInformation.from_tuple(self.server_address)

    def server_activate(self) -> None:
        """Nothing to do: the socket listens."""

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept, unless too many connections are open that ask for nothing."""
        request, address = super().get_request()
        request.setblocking(True)
        if len(self.acceptors()) >= self.ae.maximum_associations:
            request.close()
            raise OSError("too many connections")
        return request, address

    def server_close(self) -> None:
        """Close our handle only: other receivers go on listening."""
        if self.socket is not None:
            self.socket.close()

    def shutdown(self) -> None:
        """Stop accepting."""
        BaseServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log without the address that the library would print."""
        log.error("connection failed", exc_info=True)

    def acceptors(self) -> list[Acceptor]:
        """Return the associations and connections that are open here."""
        return [
            thread
            for thread in threading.enumerate()
            if isinstance(thread, Acceptor) and thread.desk is self.desk
        ]
