"""Stored values of many frames: straight from files, or by codecs on all cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from node.dicom.frames import Frame
from node.dicom.pixels import (
    Pixels,
    PixelsUndecodable,
    check_encoded,
    decode,
    decoding_seconds,
    is_native,
    read_native,
    stored_dtype,
    undecodable,
)
from node.errors import RefusalCode, Refused

#: Gets the index of a frame and its stored values; from several threads, each index once.
Take = Callable[[int, Pixels], None]
#: Frames of one file, by their index in the stack.
_Chunk = tuple[tuple[int, Frame], ...]

#: With less decoding to do than this, workers, which need half a second to start, do not pay.
#: (No codec lets go of Python's lock: two threads decode as fast as one, two programs twice.)
WORTH_WORKERS_S = 1.5
#: Frames of one file that a worker gets at a time, at least.
_CHUNK_FRAMES = 16


def each_stored(
    frames: Sequence[Frame],
    take: Take,
    *,
    into: NDArray[np.int16] | None = None,
    worth_workers_s: float = WORTH_WORKERS_S,
) -> None:
    """Give the stored values of every frame to `take`, in any order.

    Parameters
    ----------
    frames : sequence of Frame
        All of one size.
    take : callable
        Gets index and values, shape (rows, columns), which it may change.
    into : int16, shape (frames, rows, columns), C-contiguous, or None
        Where native 16-bit values may be read to directly: `take` then gets a view of its
        own plane (uint16 if the pixels are unsigned).
    worth_workers_s : float
        From how many seconds of decoding on the other cores help.

    Raises
    ------
    Refused
        PIXELS_MISSING, PIXELS_TRUNCATED, PIXELS_UNDECODABLE or PIXEL_FORMAT_UNSUITABLE.
    OSError
        If a file cannot be read.
    """
    encoded: dict[Path, list[tuple[int, Frame]]] = defaultdict(list)
    for index, frame in enumerate(frames):
        if is_native(frame):
            out = _room(frame, None if into is None else into[index])
            with _named(index, frames):
                read_native(frame, out)
            take(index, out)
        else:
            encoded[frame.path].append((index, frame))
    for members in encoded.values():
        index, frame = members[0]
        with _named(index, frames):
            check_encoded(frame)
    chunks = [chunk for members in encoded.values() for chunk in _chunks(members)]
    seconds = sum(decoding_seconds(frame) for chunk in chunks for _, frame in chunk)
    if seconds >= worth_workers_s and _cores() > 1 and len(chunks) > 1:
        _decode_in_workers(chunks, take)
    else:
        _decode_here(chunks, take)


@contextmanager
def _named(index: int, frames: Sequence[Frame]) -> Iterator[None]:
    """Let a refusal of one image's pixels say which image of the stack it is."""
    try:
        yield
    except Refused as refusal:
        where = f"image {index + 1} of {len(frames)}"
        raise Refused(refusal.code, f"{where}: {refusal.sentence}") from refusal


def _room(frame: Frame, plane: NDArray[np.int16] | None) -> Pixels:
    dtype = stored_dtype(frame)
    if plane is not None and dtype.itemsize == plane.itemsize:
        return plane.view(dtype)
    return np.empty((frame.rows, frame.columns), dtype)


def _chunks(members: Sequence[tuple[int, Frame]]) -> Iterator[_Chunk]:
    size = max(_CHUNK_FRAMES, len(members) // (4 * _cores()) + 1)
    for start in range(0, len(members), size):
        yield tuple(members[start : start + size])


def _indices(chunk: _Chunk) -> list[int]:
    return [max(frame.frame_number - 1, 0) for _, frame in chunk]


def _checked(array: Pixels, frame: Frame) -> Pixels:
    if array.shape != (frame.rows, frame.columns):
        raise Refused(
            RefusalCode.PIXEL_FORMAT_UNSUITABLE,
            f"decoded to {array.shape[0]} x {array.shape[1]}, the header says "
            f"{frame.rows} x {frame.columns}",
        )
    return array


def _decode_here(chunks: Sequence[_Chunk], take: Take) -> None:
    for chunk in chunks:
        try:
            arrays = decode(chunk[0][1].path, _indices(chunk))
            for (index, frame), array in zip(chunk, arrays, strict=True):
                take(index, _checked(array, frame))
        except PixelsUndecodable as error:
            raise undecodable(chunk[0][1]) from error


def _decode_in_workers(chunks: Sequence[_Chunk], take: Take) -> None:
    work: SimpleQueue[_Chunk] = SimpleQueue()
    for chunk in chunks:
        work.put(chunk)
    stop = threading.Event()
    count = min(_cores(), len(chunks))
    with ThreadPoolExecutor(count, thread_name_prefix="decode") as threads:
        running = [threads.submit(_drive_worker, work, take, stop) for _ in range(count)]
        for one in running:
            one.result()


def _drive_worker(work: SimpleQueue[_Chunk], take: Take, stop: threading.Event) -> None:
    """Feed one worker until no work is left, or another thread met a fault."""
    with _worker() as worker:
        while not stop.is_set():
            try:
                chunk = work.get_nowait()
            except Empty:
                return
            try:
                _ask(worker, chunk, take)
            except BaseException:
                stop.set()
                raise


def _ask(worker: subprocess.Popen[bytes], chunk: _Chunk, take: Take) -> None:
    if worker.stdin is None or worker.stdout is None:
        raise ValueError("the worker has no pipes")
    request = {"path": str(chunk[0][1].path), "indices": _indices(chunk)}
    try:
        worker.stdin.write(json.dumps(request).encode() + b"\n")
        worker.stdin.flush()
        for index, frame in chunk:
            header = json.loads(worker.stdout.readline() or b'{"failed": true}')
            if "failed" in header:
                raise undecodable(frame)
            array = _received(worker.stdout, header)
            take(index, _checked(array, frame))
    except BrokenPipeError as error:
        raise undecodable(chunk[0][1]) from error


def _received(replies: IO[bytes], header: dict[str, Any]) -> Pixels:
    dtype = np.dtype(header["dtype"])
    rows, columns = header["shape"]
    data = bytearray(replies.read(rows * columns * dtype.itemsize))
    return np.frombuffer(data, dtype).reshape(rows, columns)


@contextmanager
def _worker() -> Iterator[subprocess.Popen[bytes]]:
    """Start a decoding program (no shell, only our own module); end it at the end."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "node.dicom.decode_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def _cores() -> int:
    return len(os.sched_getaffinity(0))
