"""A program that decodes frames: codecs hold Python's lock, so cores need processes.

On stdin a JSON line per request: ``{"path": ..., "indices": [...]}``. On stdout for each frame a
JSON line ``{"dtype": ..., "shape": [rows, columns]}`` and its bytes, or ``{"failed": true}``,
which ends the request. Lives until stdin ends, so it dies with its parent.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from node.dicom.pixels import PixelsUndecodable, decode


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        request = json.loads(line)
        try:
            for array in decode(Path(request["path"]), request["indices"]):
                _reply(replies, {"dtype": array.dtype.str, "shape": array.shape})
                replies.write(np.ascontiguousarray(array).data)
        except (PixelsUndecodable, OSError):
            _reply(replies, {"failed": True})
        replies.flush()


def _reply(replies: BinaryIO, header: dict[str, object]) -> None:
    replies.write(json.dumps(header).encode() + b"\n")


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
