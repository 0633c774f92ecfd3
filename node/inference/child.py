"""The program that one plugin runs in: requests on stdin, answers on stdout, arrays in files.

Started by `node.inference.process`, never imported by the engine. Imports nothing but NumPy and
the plugin contract, so that a plugin's own interpreter needs NumPy only (E7).
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType
from typing import Any, BinaryIO

from node.errors import NO_STORAGE
from node.inference.isolation import Isolation, isolate

_MAX_MESSAGE = 400
_PATH = re.compile(r"(?:/[^\s/'\":,;]+)+/")


def main(arguments: Sequence[str]) -> None:
    """Serve requests until stdin ends."""
    parser = argparse.ArgumentParser(prog="node.inference.child")
    parser.add_argument("--plugin", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    given = parser.parse_args(arguments)
    requests, answers = _take_protocol()
    isolation = isolate(lifeline=given.lifeline, memory_mb=given.memory_mb)
    child = Child(folder=given.plugin, device=given.device, isolation=isolation)
    for line in requests:
        answer = child.answer(json.loads(line))
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _take_protocol() -> tuple[BinaryIO, BinaryIO]:
    """Move the protocol away from the descriptors that a plugin prints to."""
    requests, answers = os.dup(0), os.dup(1)  # not inherited by programs that a plugin starts
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


class Child:
    """One loaded plugin."""

    def __init__(self, *, folder: Path, device: str, isolation: Isolation):
        self._folder = folder
        self._device = device
        self._isolation = isolation
        self._plugin: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what `request` says; an error becomes an answer, not an end."""
        started = time.monotonic()
        _forget_peak()
        try:
            if request["op"] == "load":
                answer = self._load()
            else:
                answer = self._run(Path(request["case"]), Path(request["result"]))
        except BaseException as error:  # noqa: BLE001 border: SystemExit of a plugin included
            answer = _error_answer(error)
        seconds = round(time.monotonic() - started, 4)
        told = {"seconds": seconds, "peak_mb": _peak_mb(), "threads": _threads()}
        return {**answer, **told, "id": request["id"]}

    def _load(self) -> dict[str, Any]:
        module = load_module(self._folder)
        if not hasattr(module, "Plugin"):
            raise RuntimeError("plugin.py has no class named Plugin")
        self._plugin = module.Plugin()
        self._plugin.load(self._device)
        return {"ok": True, "network": self._isolation.network, "memory": self._isolation.memory}

    def _run(self, case_folder: Path, result_folder: Path) -> dict[str, Any]:
        from node.inference.transport import read_case, write_result

        with _disk_told_apart():
            _use_temporary(result_folder / "tmp")
        result = self._plugin.run(read_case(case_folder))
        with _disk_told_apart():
            write_result(result, result_folder)
        gc.collect()  # the case is mapped until its last array is gone
        return {"ok": True}


def _threads() -> int:
    """Return how many threads the plugin computes with: torch may have been told another number."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    return int(os.environ.get("OMP_NUM_THREADS", "0"))


def load_module(folder: Path, file: str = "plugin.py") -> Any:
    """Import a file of the plugin in `folder` under a name of its own, from source only.

    Compiled files (``__pycache__``) are outside the plugin's digest, so they are never read.
    """
    place = folder.resolve()
    if str(place) not in sys.path:
        sys.path_hooks.insert(0, _source_only(place))
        sys.path.insert(0, str(place))
        sys.path_importer_cache.clear()
    path = place / file
    name = f"sentinel_plugin_{re.sub(r'[^0-9A-Za-z_]', '_', f'{folder.name}_{path.stem}')}"
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


class _SourceLoader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _source_only(folder: Path) -> Any:
    finder = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES), (_SourceLoader, SOURCE_SUFFIXES)
    )

    def hook(path: str) -> Any:
        if not Path(path).resolve().is_relative_to(folder):
            raise ImportError
        return finder(path)

    return hook


class _DiskTookNothing(Exception):
    """A full disk where the node writes, not the plugin: that is no crash of the plugin."""


@contextmanager
def _disk_told_apart() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in NO_STORAGE:
            raise _DiskTookNothing(error.strerror) from error
        raise


def _error_answer(error: BaseException) -> dict[str, Any]:
    kind = "raised"
    if isinstance(error, _DiskTookNothing):
        kind = "disk"
    elif _is_memory(error):
        kind = "memory"
    elif type(error).__name__ == "ResultInvalid" and type(error).__module__ == "node.errors":
        kind = "result"
    message = _PATH.sub("", str(error))[:_MAX_MESSAGE]
    return {"error": kind, "type": type(error).__name__, "message": message, "at": _place(error)}


def _is_memory(error: BaseException) -> bool:
    # torch: OutOfMemoryError on a GPU, a plain RuntimeError with this text on a CPU
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or getattr(error, "errno", None) == errno.ENOMEM
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _use_temporary(folder: Path) -> None:
    """Have temporary files of the plugin go with the job."""
    folder.mkdir(mode=0o700)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): reset VmHWM
    except OSError:
        return


def _peak_mb() -> float:
    """Return the peak resident memory since `_forget_peak` in MB (2^20 bytes)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0
