"""Send DICOM files as they are: for the command line and the demo, not for evidence."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.dicom.network import RemoteAE, associate, read_ahead, requested_contexts, send_file
from node.dicom.part10 import read_part10
from node.errors import DeliveryFailed, MalformedDataset


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of one file."""

    path: Path
    #: DIMSE status; None if it was not sent, with `reason`.
    status: int | None
    reason: str = ""

    @property
    def stored(self) -> bool:
        """Return whether the peer says that it has it (warnings included, PS3.4 B.2.3)."""
        return self.status is not None and (self.status == 0 or self.status >> 12 == 0xB)


def dicom_files(folder: Path) -> tuple[Path, ...]:
    """Return the Part-10 files below a folder, in a stable order.

    Links are followed; a folder that two ways lead to is taken once, so a loop ends too.

    Raises
    ------
    OSError
        If a folder or a file cannot be read: what is left out silently is missed too late.
    """
    paths = [folder] if folder.is_file() else sorted(_files(folder))
    return tuple(path for path in paths if _is_part10(path))


def send_files(
    paths: Sequence[Path], remote: RemoteAE, *, on_sent: Callable[[Sent], None] = lambda _: None
) -> tuple[Sent, ...]:
    """C-STORE files over one association, in order; what one is answered delays no other.

    Raises
    ------
    DeliveryFailed
        If the peer cannot be reached, or the association breaks.
    """
    kinds: dict[Path, tuple[str, str]] = {}
    outcomes: list[Sent] = []
    for path in paths:
        try:
            part10 = read_part10(path)
        except MalformedDataset as error:
            outcomes.append(_note(Sent(path=path, status=None, reason=str(error)), on_sent))
            continue
        kinds[path] = (part10.sop_class_uid, part10.transfer_syntax_uid)
    if not kinds:
        return tuple(outcomes)
    with associate(remote, requested_contexts(kinds.values())) as assoc:
        ordered = list(kinds)
        for number, path in enumerate(ordered, start=1):
            for following in ordered[number : number + 1]:
                read_ahead(following)
            try:
                sent = Sent(path=path, status=send_file(assoc, path, message_id=number & 0xFFFF))
            except DeliveryFailed as error:
                if error.retry:
                    raise
                sent = Sent(path=path, status=None, reason=str(error))
            outcomes.append(_note(sent, on_sent))
    return tuple(outcomes)


def _note(sent: Sent, on_sent: Callable[[Sent], None]) -> Sent:
    on_sent(sent)
    return sent


def _files(folder: Path) -> Iterator[Path]:
    def complain(error: OSError) -> None:
        raise error

    met: set[tuple[int, int]] = set()
    for place, below, names in os.walk(folder, followlinks=True, onerror=complain):
        found = Path(place).stat()
        if (found.st_dev, found.st_ino) in met:
            below.clear()
            continue
        met.add((found.st_dev, found.st_ino))
        below.sort()  # which of two ways is taken must not be chance
        yield from (path for name in names if (path := Path(place, name)).is_file())


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
