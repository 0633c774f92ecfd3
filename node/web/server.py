"""The web process: one listening socket, uvicorn in a thread, a clean end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import uvicorn

from node.errors import SettingsError
from node.logs import get_logger
from node.parts import Node
from node.settings import WebSettings
from node.web.api import make_api
from node.web.connection import connection_of
from node.web.guard import Guard
from node.web_access import WebAccess

log = get_logger(__name__)

_MOST_CONNECTIONS = 32
_LARGEST_HEADERS = 16 * 1024
_START_S = 20.0


class WebServer:
    """Serves HTTP until it is stopped.

    Parameters
    ----------
    node : Node
        With plugins: their manifests say which values there are.
    access : WebAccess
    more_s : float
        How long a connection may last beyond the time of a body: what the rows may take.
    """

    def __init__(self, node: Node, access: WebAccess, *, more_s: float = 20.0):
        web = node.settings.web
        self._listener = _bind(web)
        self._stopping = False
        self._server = uvicorn.Server(_config(node, access, more_s))
        self._thread = threading.Thread(target=self._run, name="web")

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Serve, in a thread of its own; return when calls are answered."""
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.02)

    def stop(self, *, drain_s: float) -> None:
        """Finish what is being answered, then end."""
        self._stopping = True
        self._server.should_exit = True
        self._thread.join(drain_s)
        self._server.force_exit = True
        self._thread.join(2.0)
        self._listener.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        except Exception:
            log.exception("alarm: web server failed")
        finally:
            if not self._stopping:  # the supervisor starts another process
                os.kill(os.getpid(), signal.SIGTERM)


def _config(node: Node, access: WebAccess, more_s: float) -> uvicorn.Config:
    web, tls = node.settings.web, access.tls
    return uvicorn.Config(
        Guard(make_api(node), token=access.token),
        # Its files were read and judged before.
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        loop="asyncio",
        http=connection_of(web.timeout_s + more_s),
        ws="none",
        lifespan="off",
        access_log=False,  # it would write study UIDs (S28)
        log_config=None,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=1,
        h11_max_incomplete_event_size=_LARGEST_HEADERS,
    )


def _bind(web: WebSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in web.bind else socket.AF_INET
    try:
        return socket.create_server((web.bind, web.port or 0), family=family, backlog=64)
    except OSError as error:
        raise SettingsError(
            f"web: cannot listen on {web.bind}:{web.port}: {error.strerror or error}; choose "
            "another web.bind or web.port, or stop what listens there"
        ) from error
