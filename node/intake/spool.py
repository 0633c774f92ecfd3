"""The bytes of one data set on their way to the disk.

Small ones (nearly all) stay in memory until the last byte came: one scan, one write, no
rewritten header, the hashes beside the write. Large ones go to the disk and through the hash
as they come, so an object of any size needs little memory (E2).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

from node.dicom.part10 import Part10, pixel_sha256, scan_stream
from node.dicom.scan import Header, ScanLimits, scan
from node.errors import StorageUnavailable
from node.intake.names import Names

#: Larger objects are streamed.
_IN_MEMORY_BYTES: Final = 4 << 20
#: A buffer that is kept for the next object; touching new memory costs more than copying.
_KEPT_BUFFER_BYTES: Final = 1 << 20
_KEPT_BUFFERS: Final = 16
#: Below this a thread costs more than hashing.
_HASHED_HERE_BYTES: Final = 1 << 16


class Workbench:
    """What the spools of one process share: hashing threads and buffers."""

    def __init__(self) -> None:
        self._hashers = ThreadPoolExecutor(
            max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="hasher"
        )
        self._buffers: list[bytearray] = []

    def sha256(self, content: memoryview) -> Callable[[], str]:
        """Begin to hash; the result waits for the end."""
        if len(content) < _HASHED_HERE_BYTES:
            digest = hashlib.sha256(content).hexdigest()
            return lambda: digest
        hashing: Future[str] = self._hashers.submit(_sha256, content)
        return hashing.result

    def take_buffer(self) -> bytearray:
        """Return a buffer that nobody else uses."""
        try:
            return self._buffers.pop()
        except IndexError:
            return bytearray(_KEPT_BUFFER_BYTES)

    def give_buffer(self, buffer: bytearray) -> None:
        """Take a buffer back."""
        if len(buffer) <= _KEPT_BUFFER_BYTES and len(self._buffers) < _KEPT_BUFFERS:
            self._buffers.append(buffer)


class Spool:
    """One data set; `recycle` or `discard` ends it.

    Parameters
    ----------
    names : Names
        Where its file comes from.
    bench : Workbench
        Shared with the other spools of the process.
    placeholder : callable
        Returns preamble and group 2, as long as what `land` gets; for large objects.
    """

    def __init__(self, names: Names, bench: Workbench, placeholder: Callable[[], bytes]):
        self._names = names
        self._bench = bench
        self._placeholder = placeholder
        self._buffer: bytearray | None = bench.take_buffer()
        #: Bytes of the data set so far.
        self.size = 0
        self._path: Path | None = None
        self._stream: IO[bytes] | None = None
        self._digest = hashlib.sha256()
        self._content: Callable[[], str] = self._digest.hexdigest
        self._pixels: Callable[[], str] = str

    @property
    def content_sha256(self) -> str:
        """Return the SHA-256 of the data set; after `scan`."""
        return self._content()

    @property
    def pixel_sha256(self) -> str:
        """Return the SHA-256 of the pixel data value, "" without; after `land`."""
        return self._pixels()

    def append(self, fragment: memoryview | bytes) -> None:
        """Take the next bytes.

        Raises
        ------
        OSError
            If the disk does not take them.
        """
        end = self.size + len(fragment)
        if self._stream is None and end > _IN_MEMORY_BYTES:
            self._spill()
        if self._stream is not None:
            self._stream.write(fragment)
            self._digest.update(fragment)
        elif self._buffer is not None:
            if end > len(self._buffer):
                # A new one: views of the old one may be alive.
                self._buffer = self._buffer[: self.size] + bytearray(2 * end - self.size)
            self._buffer[self.size : end] = fragment
        else:
            raise StorageUnavailable("the upload was discarded")
        self.size = end

    def scan(self, meta: bytes, part10: Part10, limits: ScanLimits) -> Header:
        """Walk over what came; all of it is here."""
        if self._stream is not None:
            self._stream.seek(0)
            self._stream.write(meta)
            self._stream.flush()
            return scan_stream(self._stream, part10, limits=limits)
        content = self._in_memory()
        self._content = self._bench.sha256(content)
        return scan(content, part10.transfer_syntax_uid, limits=limits)

    def land(self, meta: bytes, part10: Part10, header: Header) -> Path:
        """Return the file in `incoming/`: its bytes and its name are durable.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        if self._stream is not None:
            digest = pixel_sha256(self._stream, part10, header)
            self._pixels = lambda: digest
            os.fsync(self._stream.fileno())
        else:
            if header.pixel_start is not None:
                pixels = header.dataset[header.pixel_start : header.pixel_end]
                self._pixels = self._bench.sha256(pixels)
            self._write_at_once(meta)
        if self._path is None:
            raise StorageUnavailable("the upload was discarded")
        return self._path

    def release(self) -> None:
        """Leave the file that `land` returned to the caller."""
        self._path = None

    def discard(self) -> None:
        """Drop everything; any thread may, also while another appends."""
        stream, self._stream = self._stream, None
        path, self._path = self._path, None
        self._buffer = None
        if stream is not None:
            stream.close()
        if path is not None:
            path.unlink(missing_ok=True)

    def recycle(self) -> None:
        """Drop everything at the end, in the thread that appended: its memory is used again."""
        buffer = self._buffer
        self.discard()
        if buffer is not None:
            self._settle_hashes()
            self._bench.give_buffer(buffer)

    def _in_memory(self) -> memoryview:
        if self._buffer is None:
            raise StorageUnavailable("the upload was discarded")
        return memoryview(self._buffer)[: self.size]

    def _spill(self) -> None:
        content = self._in_memory()
        self._path, descriptor = self._names.open()
        self._stream = os.fdopen(descriptor, "w+b", _KEPT_BUFFER_BYTES)
        self._stream.write(self._placeholder())
        self._stream.write(content)
        self._digest.update(content)
        self._buffer = None

    def _write_at_once(self, meta: bytes) -> None:
        self._path, descriptor = self._names.open()
        try:
            rest = [memoryview(meta), self._in_memory()]
            while rest:
                written = os.writev(descriptor, rest)
                while rest and written >= len(rest[0]):
                    written -= len(rest.pop(0))
                if rest:
                    rest[0] = rest[0][written:]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _settle_hashes(self) -> None:
        """Wait for hashing that nobody asked about: the buffer is used again."""
        self._content()
        self._pixels()


def _sha256(content: memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
