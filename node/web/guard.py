"""Who may call, and one log line a request, without patient data (S28)."""

from __future__ import annotations

import hmac
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.errors import NodeError
from node.logs import get_logger, hashed
from node.web.answers import WebRefused, refusal

log = get_logger(__name__)

_STUDY = re.compile(r"/studies/([^/]+)(/.*)?")
_OPEN_TO_ALL = ("/health/live", "/health/ready")
#: What a browser on this computer calls us. Another name that leads here is a page's trick to
#: reach loopback (DNS rebinding).
_OUR_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Stands in front of the application.

    Parameters
    ----------
    app : ASGI application
    token : str
        Asked for in ``Authorization: Bearer``; "" = nothing is asked, on loopback only.
    """

    def __init__(self, app: ASGIApp, *, token: str):
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whatever happens inside."""
        if scope["type"] != "http":
            return
        start, told = time.monotonic(), _Told(send)
        try:
            self._check(scope)
            await self._app(scope, receive, told.send)
        except NodeError as error:
            await refusal(error)(scope, receive, told.send)
        except Exception:
            log.exception("alarm: request failed by a defect")
        _note(scope, told.status, time.monotonic() - start)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if scope["path"] in _OPEN_TO_ALL:
            return
        if not self._token:
            if _host(headers.get("host", "")) not in _OUR_NAMES:
                raise WebRefused(421, "WRONG_HOST", "call this service by localhost")
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._token)
        if kind.casefold() != "bearer" or not same:
            raise WebRefused(401, "NO_TOKEN", "send Authorization: Bearer with the node's token")


class _Told:
    """Sends answers on, remembers the status, and ends each connection after one."""

    def __init__(self, send: Send):
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            MutableHeaders(scope=message)["connection"] = "close"
        await self._send(message)


def _host(header: str) -> str:
    """Return the name in a Host header, without port and brackets.

    Examples
    --------
    >>> _host("LOCALHOST:8080"), _host("[::1]:8080"), _host("127.0.0.1")
    ('localhost', '::1', '127.0.0.1')
    """
    if header.startswith("["):
        return header[1:].partition("]")[0].casefold()
    return header.partition(":")[0].casefold()


def _note(scope: Scope, status: int, seconds: float) -> None:
    found = _STUDY.fullmatch(scope["path"])
    known = scope["path"] in _OPEN_TO_ALL
    path = f"/studies/*{found[2] or ''}"[:32] if found else scope["path"] if known else "other"
    study = {"study": hashed(found[1])} if found else {}
    spent = round(seconds, 3)
    log.info("request", method=scope["method"], path=path, status=status, seconds=spent, **study)
