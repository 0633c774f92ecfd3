"""The features of a cohort: several processes, and nothing is counted twice."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from node.plugin import Volume
from node.radiomics_settings import RadiomicsSettings, feature_names
from node.toolkit.radiomics.extract import NoFeatures, extract
from node.toolkit.training import write_whole
from node.toolkit.workers import Workers, cores, raised

#: A region, or what reads it when its turn comes.
Region = tuple[Volume, NDArray[np.bool_]]
Source = Region | Callable[[], Region]

#: A new one whenever `extract` gives other numbers for the same settings and libraries.
_EDITION = 2
_LIBRARIES = ("pyradiomics-bhklab", "pyradiomics", "SimpleITK", "numpy", "PyWavelets")
#: What zipfile and NumPy raise of a file that is none, cut, or has other bits.
_BROKEN = (
    *(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
    *(RuntimeError, TypeError, MemoryError),
)
_Answer = NDArray[np.float64] | str
_Task = tuple[Volume, NDArray[np.bool_], RadiomicsSettings, Path | None]


@dataclass(frozen=True, eq=False)
class Batch:
    """What became of each region.

    Attributes
    ----------
    names : tuple of str
    values : float64, shape (regions, features)
        NaN in the row of a region that was refused.
    refused : mapping of row to sentence
    cached : int
        How many rows were read and not counted.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    refused: Mapping[int, str]
    cached: int


def extract_many(
    sources: Sequence[Source],
    settings: RadiomicsSettings,
    *,
    workers: int | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Batch:
    """Return the features of many regions.

    Parameters
    ----------
    sources : sequence of (volume, mask), or of functions that return them
        Functions are called here, one after the other, shortly before their turn.
    settings : RadiomicsSettings
    workers : int or None
        Processes; 1: none but this one; None: one for each core. Each of them imports the script
        that calls this: its work must stand under ``if __name__ == "__main__":``.
    cache : Path or None
        Folder of features by hashes of image, region, settings and libraries. An entry that
        cannot be read is counted again. It holds numbers only.
    progress : function of (done, all) or None

    Returns
    -------
    Batch
        Rows in the order of `sources`.

    Raises
    ------
    LearningError
        If a process died.
    """
    kept = _Kept(sources, settings, cache, progress)
    count = min(workers or cores(), max(len(sources), 1))
    if count == 1:
        for task in kept.tasks():
            kept.take(_answer(*task))
    else:
        with Workers(count) as pool:
            answers: Iterator[_Answer] = raised(pool.each(_answer, kept.tasks(), ahead=1))
            for answer in answers:
                kept.take(answer)
    return Batch(feature_names(settings), kept.values, kept.refused, kept.cached)


class _Kept:
    """Rows as they come: from the cache at once, from processes in the order of tasks."""

    def __init__(
        self,
        sources: Sequence[Source],
        settings: RadiomicsSettings,
        cache: Path | None,
        progress: Callable[[int, int], None] | None,
    ):
        self.sources, self.settings, self.cache = sources, settings, cache
        self.progress = progress
        self.values = np.full((len(sources), len(feature_names(settings))), np.nan)
        self.refused: dict[int, str] = {}
        self.cached = self.done = 0
        self.waiting: deque[int] = deque()

    def tasks(self) -> Iterator[_Task]:
        """Yield what has to be counted."""
        for row, source in enumerate(self.sources):
            volume, mask = source() if callable(source) else source
            path = None
            if self.cache is not None and isinstance(mask, np.ndarray):
                path = self.cache / f"{key_of(volume, mask, self.settings)}.npz"
                found = _read(path, self.values.shape[1])
                if found is not None:
                    self.cached += 1
                    self._keep(row, found)
                    continue
            self.waiting.append(row)
            yield volume, mask, self.settings, path

    def take(self, answer: _Answer) -> None:
        """Keep the answer to the oldest task."""
        self._keep(self.waiting.popleft(), answer)

    def _keep(self, row: int, answer: _Answer) -> None:
        if isinstance(answer, str):
            self.refused[row] = answer
        else:
            self.values[row] = answer
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, len(self.sources))


def key_of(volume: Volume, mask: NDArray[np.bool_], settings: RadiomicsSettings) -> str:
    """Return a hash of everything that the features depend on."""
    padding = [] if volume.padding is None else [np.packbits(volume.padding)]
    image = _digest(
        f"{volume.array.dtype} {volume.array.shape} {volume.unit} {volume.spacing_mm}",
        [np.ascontiguousarray(volume.array), *padding],
    )
    region = _digest(f"{mask.dtype} {mask.shape}", [np.packbits(mask.astype(bool))])
    return _digest(f"{image} {region} {configuration_of(settings)}", [])


@cache
def configuration_of(settings: RadiomicsSettings) -> str:
    """Return a hash of the settings, the libraries that count, and their versions."""
    versions = {name: _version(name) for name in _LIBRARIES}
    words = {"edition": _EDITION, "settings": asdict(settings), "versions": versions}
    return _digest(json.dumps(words, sort_keys=True), [])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _digest(words: str, arrays: Iterable[NDArray[np.generic]]) -> str:
    found = hashlib.sha256(words.encode())
    for array in arrays:
        found.update(array.data)
    return found.hexdigest()


def _answer(
    volume: Volume, mask: NDArray[np.bool_], settings: RadiomicsSettings, path: Path | None
) -> _Answer:
    try:
        values = extract(volume, mask, settings).values
    except NoFeatures as error:
        return str(error)
    if path is not None:
        content = io.BytesIO()
        np.savez(content, values=values, key=np.array(path.stem))
        write_whole(path, content.getvalue())
    return values


def _read(path: Path, count: int) -> NDArray[np.float64] | None:
    """Return what stands in a file of the cache; None if it is not there or broken."""
    try:
        # Opened here: np.load leaves a broken file open. Each array of a zip has a checksum.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            values: NDArray[np.float64] = arrays["values"]
            if str(arrays["key"]) != path.stem:  # another region's, under this name
                return None
    except _BROKEN:
        return None
    fits = values.shape == (count,) and values.dtype == np.float64 and np.isfinite(values).all()
    return values if fits else None
