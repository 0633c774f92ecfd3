"""What a caller is told: JSON, and for a refusal a code and one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from node.errors import ClinicalValueRefused, NodeError
from node.storage.clinical_rows import NoSuchStudy

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_STATUS: tuple[tuple[type[NodeError], int], ...] = (
    (NoSuchStudy, 404),
    (ClinicalValueRefused, 422),
)
_TRY_LATER_S = "5"


class WebRefused(NodeError):
    """A request that we do not serve, with its HTTP status."""

    def __init__(self, status: int, code: str, sentence: str):
        super().__init__(sentence)
        self.status = status
        self.code = code


def answer(document: Mapping[str, Any], status: int = 200) -> Response:
    """Return a document as JSON that nobody keeps."""
    return JSONResponse(dict(document), status_code=status, headers=_HEADERS)


def refusal(error: NodeError) -> Response:
    """Return what a caller is told of an error of ours."""
    status = error.status if isinstance(error, WebRefused) else _status_of(error)
    told = answer({"error": str(error.code), "sentence": str(error)}, status)
    if status == 401:
        told.headers["www-authenticate"] = "Bearer"
    if status == 503:
        told.headers["retry-after"] = _TRY_LATER_S
    return told


def _status_of(error: NodeError) -> int:
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 503 if error.retry else 500
