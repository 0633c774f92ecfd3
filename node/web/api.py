"""The routes: clinical values of a study, and whether the node works."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from node.clinical import enter, entry_document, known
from node.errors import NodeError
from node.logs import get_logger
from node.parts import Node
from node.web.answers import WebRefused, answer, refusal
from node.web.entries import said_in

log = get_logger(__name__)

_WORDS = {404: "there is nothing at this address", 405: "this address does not take this method"}


def make_api(node: Node) -> FastAPI:
    """Return the application; it asks nobody who they are: `node.web.guard` does."""
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    api.add_exception_handler(NodeError, _refused)
    api.add_exception_handler(HTTPException, _no_route)
    api.add_exception_handler(Exception, _defect)

    @api.post("/studies/{study_uid}/clinical")
    async def enter_values(study_uid: str, request: Request) -> Response:
        said = said_in(await _body(request, node))
        act = partial(enter, node, study_uid, said, way="http", now=time.time())
        stored = await run_in_threadpool(act)
        values = {entry.name: entry_document(entry) for entry in stored.entries}
        return answer({"study": study_uid, "stored": values, "again": stored.again})

    @api.get("/studies/{study_uid}/clinical")
    async def show_values(study_uid: str) -> Response:
        return answer(await run_in_threadpool(known, node, study_uid))

    @api.get("/health/live")
    async def live() -> Response:
        return answer({"live": True})

    @api.get("/health/ready")
    async def ready() -> Response:
        found = await run_in_threadpool(_ready, node)
        return answer({"ready": found}, 200 if found else 503)

    return api


async def _body(request: Request, node: Node) -> bytes:
    """Return the body, if it is JSON, small, and comes in time."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WebRefused(415, "NOT_JSON", "send Content-Type: application/json")
    limit = node.settings.web.max_body_kb * 1024
    too_large = WebRefused(413, "TOO_LARGE", f"at most {limit} bytes are taken")
    if int(request.headers.get("content-length", 0)) > limit:  # digits alone: h11 saw to it
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(node.settings.web.timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError as error:
        raise WebRefused(408, "TOO_SLOW", "the body did not come in time") from error
    return bytes(body)


def _ready(node: Node) -> bool:
    """Return whether the rows can be read and the supervisor says that receiver and engine work.

    Where this role runs alone, there is no supervisor's word, and the rows decide.
    """
    try:
        node.db.check_schema()
    except NodeError:
        return False
    try:
        state = json.loads((node.settings.data_dir / "run" / "state.json").read_text())
    except (OSError, ValueError):
        return True
    return bool(state.get("ready"))


async def _refused(_request: Request, error: Any) -> Response:
    if not isinstance(error, WebRefused):
        log.info("request refused", code=str(error.code))
    return refusal(error)


async def _no_route(_request: Request, error: Any) -> Response:
    status = int(error.status_code)
    sentence = _WORDS.get(status, "this request cannot be served")
    return refusal(WebRefused(status, "NO_ROUTE", sentence))


async def _defect(_request: Request, _error: Any) -> Response:
    """Tell the caller; the guard sees the error as well, and logs it."""
    return refusal(WebRefused(500, "DEFECT", "a defect in the node; see its log"))
