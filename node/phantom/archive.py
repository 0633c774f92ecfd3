"""A small DICOM archive on loopback for demo and tests: keeps, hashes and counts every C-STORE.

``python -m node.phantom.archive --port 11113 --folder DIR`` runs it as a process of its own;
``DIR/ledger.jsonl`` then has one line for every object that came, doubles included.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import UID, AllTransferSyntaxes
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt, register_uid
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
    uid_to_service_class,
)

from node.dicom.uids import valid_uid
from node.phantom.index import Index, entry_of

LEDGER = "ledger.jsonl"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One C-STORE as it came; `sha256` is over the data set's bytes, without group 2."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: str
    size_bytes: int
    calling_ae: str
    called_ae: str
    #: What it was answered.
    status: int
    #: Seconds since the epoch, UTC.
    received_at: float
    #: Relative to the archive's folder; "" if it was not kept.
    path: str


class DemoArchive:
    """A DICOM peer that takes everything on loopback and can tell what it got.

    Parameters
    ----------
    folder : Path
        Keeps ``<study>/<series>/<sop>.dcm`` and the ledger; what lies there is served again
        after a restart.
    port : int
        0 takes a free one.
    ae_title : str
    answer : callable, optional
        Gets a SOP Instance UID, returns the status to answer; an object is kept if it is a
        success or a warning (0x0000, 0xBxxx). Default: success.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, DemoArchive(Path(folder)) as archive:
    ...     archive.received
    ()
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        ae_title: str = "ARCHIVE",
        *,
        answer: Callable[[str], int] | None = None,
    ):
        self.folder = folder
        self.ae_title = ae_title
        self.port = port
        self._answer = answer or (lambda _uid: 0x0000)
        self._lock = threading.Lock()
        self._server: Any = None
        folder.mkdir(parents=True, exist_ok=True)
        self._received = _read_ledger(folder / LEDGER)
        self._index = Index()
        for path in sorted(folder.glob("*/*/*.dcm")):
            self._index.add(entry_of(path.read_bytes(), path))

    def __enter__(self) -> DemoArchive:
        """Start listening."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.stop()

    @property
    def received(self) -> tuple[Stored, ...]:
        """Return every C-STORE in the order it came, doubles included."""
        with self._lock:
            return tuple(self._received)

    def hashes(self) -> dict[str, set[str]]:
        """Return, for each SOP Instance UID, the SHA-256 of every version that came."""
        found: dict[str, set[str]] = {}
        for stored in self.received:
            found.setdefault(stored.sop_instance_uid, set()).add(stored.sha256)
        return found

    def kept(self) -> tuple[Path, ...]:
        """Return the files of all objects that were kept, in the order they came."""
        paths = (self.folder / stored.path for stored in self.received if stored.path)
        return tuple(dict.fromkeys(paths))

    def start(self) -> None:
        """Listen on loopback; `port` then is the real one."""
        ae = AE(ae_title=self.ae_title)
        ae.maximum_associations = 100
        ae.maximum_pdu_size = 131072
        for uid in _SERVICES:
            ae.add_supported_context(uid)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(
                str(context.abstract_syntax), _SYNTAXES, scu_role=True, scp_role=True
            )
        self._server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _without_delay),
                (evt.EVT_REQUESTED, _accept_private_storage),
                (evt.EVT_C_STORE, self._on_store),
                (evt.EVT_C_FIND, self._on_find),
                (evt.EVT_C_GET, self._on_get),
            ],
        )
        self.port = int(self._server.socket.getsockname()[1])

    def stop(self) -> None:
        """Stop listening; what was kept stays."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _on_store(self, event: Any) -> int:
        content = event.encoded_dataset()
        request = event.request
        sop_instance_uid = str(request.AffectedSOPInstanceUID)
        status = self._answer(sop_instance_uid)
        dataset = request.DataSet.getvalue()
        digest = hashlib.sha256(dataset).hexdigest()
        with self._lock:
            path = self._keep(content, digest) if status == 0 or status >> 12 == 0xB else None
            stored = Stored(
                sop_instance_uid=sop_instance_uid,
                sop_class_uid=str(request.AffectedSOPClassUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                sha256=digest,
                size_bytes=len(dataset),
                calling_ae=event.assoc.requestor.ae_title,
                called_ae=event.assoc.acceptor.primitive.called_ae_title,
                status=status,
                received_at=time.time(),
                path=str(path.relative_to(self.folder)) if path else "",
            )
            with (self.folder / LEDGER).open("a", encoding="utf-8") as ledger:
                ledger.write(json.dumps(asdict(stored)) + "\n")
            self._received.append(stored)
        return status

    def _keep(self, content: bytes, digest: str) -> Path:
        """Write the object; other bytes under a known UID get a name of their own."""
        entry = entry_of(content, self.folder / "unnamed" / "unnamed" / f"{digest}.dcm")
        uids = [entry.values[f"{level}InstanceUID"] for level in ("Study", "Series", "SOP")]
        path = entry.path
        if all(valid_uid(uid) for uid in uids):
            path = self.folder / uids[0] / uids[1] / f"{uids[2]}.dcm"
        if path.exists() and path.read_bytes() != content:
            path = path.with_name(f"{path.stem}.{digest[:8]}.dcm")
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".part")
            temporary.write_bytes(content)
            temporary.rename(path)
            self._index.add(entry_of(content, path))
        return path

    def _on_find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        with self._lock:
            answers = self._index.find(event.identifier)
        for answer in answers:
            yield 0xFF00, answer

    def _on_get(self, event: Any) -> Iterator[Any]:
        with self._lock:
            paths = self._index.paths(event.identifier)
        yield len(paths)
        for path in paths:
            yield 0xFF00, dcmread(path)


_SERVICES = (
    Verification,
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)


_SYNTAXES: list[str | UID] = list(AllTransferSyntaxes)


def dataset_sha256(path: Path) -> str:
    """Return the SHA-256 of a DICOM file's data set without preamble and group 2.

    Equals `Stored.sha256` of the same object sent without change of transfer syntax.
    """
    content = path.read_bytes()
    if content[128:132] != b"DICM":
        return hashlib.sha256(content).hexdigest()
    # (0002,0000) is 12 bytes and says how many bytes of group 2 follow it (PS3.10 7.1).
    length = int.from_bytes(content[140:144], "little")
    return hashlib.sha256(content[144 + length :]).hexdigest()


def _accept_private_storage(event: Any) -> None:
    """Offer storage for classes that the library does not know, in this association only."""
    known = {context.abstract_syntax for context in event.assoc.acceptor.supported_contexts}
    for proposed in event.assoc.requestor.primitive.presentation_context_definition_list:
        uid = proposed.abstract_syntax
        if uid in known or uid_to_service_class(uid) not in {ServiceClass, StorageServiceClass}:
            continue
        keyword = "Private" + hashlib.sha256(uid.encode()).hexdigest()[:16]
        register_uid(uid, keyword, StorageServiceClass)
        contexts = event.assoc.acceptor.supported_contexts
        event.assoc.acceptor.supported_contexts = [
            *contexts,
            build_context(uid, _SYNTAXES),
        ]


def _without_delay(event: Any) -> None:
    # With Nagle's algorithm each object waits about 40 ms for the sender's acknowledgement.
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _read_ledger(path: Path) -> list[Stored]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Stored(**json.loads(line)) for line in lines if line.endswith("}")]


def main() -> int:
    """Run an archive until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m node.phantom.archive")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ae-title", default="ARCHIVE")
    arguments = parser.parse_args()
    # Before any thread starts, so that they inherit the mask and sigwait gets the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    with DemoArchive(arguments.folder, arguments.port, arguments.ae_title) as archive:
        sys.stdout.write(f"listening on 127.0.0.1:{archive.port}\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    sys.exit(main())
