"""Scanners and workstations of a run: stock pynetdicom, nothing of ours that they could share."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, _config

from node.phantom.archive import dataset_sha256
from node.phantom.study import make_ct_study
from tests.chaos.plan import Batch, Image, Plan

# Send the bytes of the file, not what pydicom makes of them: both ends are hashed.
_config.STORE_SEND_CHUNKED_DATASET = True

_PATIENCE_S = 4.0


@dataclass
class Sent:
    """What the node acknowledged: exactly this must be found afterwards."""

    acknowledged: set[Image] = field(default_factory=set)
    statuses: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, image: Image, status: int | None) -> None:
        """Keep the answer to one C-STORE; None: no answer came."""
        with self.lock:
            word = "none" if status is None else f"{status:04X}"
            self.statuses[word] = self.statuses.get(word, 0) + 1
            self.broken += status is None
            if status == 0:
                self.acknowledged.add(image)


@dataclass(frozen=True)
class Material:
    """The files of a run."""

    paths: Mapping[Image, Path]
    sha256: Mapping[Image, str]
    study_uids: tuple[str, ...]
    sop_uids: Mapping[Image, str]


def make_material(plan: Plan, folder: Path) -> Material:
    """Write every image of the plan, in every version that is sent."""
    studies = [
        make_ct_study(folder / str(n), seed=1000 * (plan.seed % 9999) + n, shape=(slices, 64, 64))
        for n, slices in enumerate(plan.studies)
    ]
    paths = {}
    for image in {i for batches in plan.senders for b in batches for i in b.images}:
        first = studies[image.study].paths[image.number]
        paths[image] = _changed(first, image.version) if image.version else first
    for number, study in enumerate(studies):
        paths |= {Image(study=number, number=n): path for n, path in enumerate(study.paths)}
    return Material(
        paths=paths,
        sha256={image: dataset_sha256(path) for image, path in paths.items()},
        study_uids=tuple(study.study_instance_uid for study in studies),
        sop_uids={i: studies[i.study].sop_instance_uids[i.number] for i in paths},
    )


def _changed(path: Path, version: str) -> Path:
    ds = pydicom.dcmread(path)
    if version == "pixels":
        pixels = bytearray(ds.PixelData)
        pixels[0] ^= 1
        ds.PixelData = bytes(pixels)
    else:
        ds.PatientComments = "Synthetic: drawn from formulas, no person, corrected"
    changed = path.with_suffix(f".{version}.dcm")
    ds.save_as(changed, enforce_file_format=True)
    return changed


class Sender:
    """One peer: goes through its batches, then sends again what was not acknowledged."""

    def __init__(self, number: int, port: int, batches: tuple[Batch, ...], material: Material):
        self._ae = AE(ae_title=f"SCANNER{number}")
        self._ae.acse_timeout = self._ae.dimse_timeout = self._ae.network_timeout = _PATIENCE_S
        self._ae.connection_timeout = 2
        self._ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        self._port = port
        self._batches = batches
        self._material = material
        self.sent = Sent()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Return whether everything was acknowledged in time."""
        self._thread.join(timeout_s)
        late = self._thread.is_alive()
        self._stopping.set()
        self._thread.join(10)
        return not late

    @property
    def wanted(self) -> frozenset[Image]:
        return frozenset(image for batch in self._batches for image in batch.images)

    def _run(self) -> None:
        for batch in self._batches:
            self._send(batch)
            self._stopping.wait(batch.pause_s)
        while not self._stopping.is_set():
            left = [image for image in sorted_images(self.wanted) if not self._is_in(image)]
            if not left:
                return
            self._send(Batch(images=tuple(left)))
            self._stopping.wait(0.3)

    def _is_in(self, image: Image) -> bool:
        return image in self.sent.acknowledged

    def _send(self, batch: Batch) -> None:
        assoc = self._ae.associate("127.0.0.1", self._port, ae_title="SENTINEL")
        if not assoc.is_established:
            return
        for image in batch.images:
            if batch.end == "cut" and image is batch.images[-1]:
                threading.Timer(0.002, _cutter(assoc)).start()
            try:
                answer = assoc.send_c_store(self._material.paths[image])
            except (RuntimeError, ValueError, OSError):
                self.sent.note(image, None)
                break
            self.sent.note(image, int(answer.Status) if "Status" in answer else None)
            if not assoc.is_established:
                break
        if assoc.is_established:
            assoc.release() if batch.end == "release" else assoc.abort()


def sorted_images(images: frozenset[Image]) -> list[Image]:
    return sorted(images, key=lambda image: (image.study, image.number, image.version))


def _cutter(assoc: object) -> Callable[[], None]:
    def cut() -> None:
        with suppress(AttributeError, OSError):
            assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]

    return cut
