"""The order proof of S12, by a log of the receiver's own system calls (decision 0002).

Loss of power is played on the files that a killed receiver left: every directory entry that no
fsync had made durable is taken away, and rows are left as committed.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from node import app
from node.dicom.network import RemoteAE
from node.dicom.part10 import content_sha256, read_part10
from node.dicom.send import Sent, send_files
from node.dicom.wire import HEAD_BYTES, parse_store_response
from node.errors import NodeError
from node.intake.reindex import reindex
from node.settings_file import load_settings
from node.storage.database import Database
from node.storage.files import Files
from node.storage.intake_rows import instances_of_study, list_studies
from tests.benchmarks.sides import our_receiver
from tests.make import ct_series, write_series
from tests.peers import require_peer

pytestmark = pytest.mark.peer

SUCCESS = 0x0000
SHIM = Path(__file__).with_name("order_shim.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    require_peer("gcc", found=shutil.which("gcc") is not None)
    target = tmp_path_factory.mktemp("shim") / "order_shim.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(target), str(SHIM), "-ldl"]
    subprocess.run(command, check=True)
    return target


@dataclass
class Calls:
    """The log of one receiver, replayed: what a loss of power would leave at each moment."""

    #: Names that a sync of their folder made durable, and those it did not yet.
    durable: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    #: Files whose bytes were written and not synced yet.
    dirty: set[str] = field(default_factory=set)
    #: Names that are one file: final name to name in incoming/.
    linked: dict[str, str] = field(default_factory=dict)
    #: How far the row of each final name is, if only one sender was there.
    rows: dict[str, str] = field(default_factory=dict)
    fsyncs: dict[str, int] = field(default_factory=lambda: {"file": 0, "folder": 0, "rows": 0})
    acknowledged: list[str] = field(default_factory=list)

    def replay(self, log: Path) -> Calls:
        for line in log.read_text().splitlines():
            word, _, what = line.partition(" ")
            getattr(self, f"_{word}")(what)
        return self

    def _create(self, path: str) -> None:
        self.fresh.add(path)

    _mkdir = _create

    def _write(self, path: str) -> None:
        if ".db" in path:
            self.rows.update({final: "written" for final in self.rows if self.rows[final] == ""})
        else:
            self.dirty.add(path)

    def _link(self, both: str) -> None:
        temporary, final = both.split(" ")
        assert temporary not in self.dirty, "linked before its bytes were synced"
        self.linked[final] = temporary
        self.rows[final] = ""
        self.fresh.add(final)

    def _fsync(self, path: str) -> None:
        if ".db" in path:
            self.fsyncs["rows"] += 1
            self.rows.update({final: "synced" for final in self.rows if self.rows[final]})
        elif path.endswith(".part"):
            self.fsyncs["file"] += 1
            self.dirty.discard(path)
        else:
            self.fsyncs["folder"] += 1
            here = {name for name in self.fresh if os.path.dirname(name) == path}  # noqa: PTH120
            self.fresh -= here
            self.durable |= here

    def _unlink(self, path: str) -> None:
        for final in (final for final, temporary in self.linked.items() if temporary == path):
            assert self._holds(final), "its last durable name was removed"
        self.durable.discard(path)
        self.fresh.discard(path)

    def _holds(self, path: str) -> bool:
        """Return whether a name and the folders above it, as far as they are new, are durable."""
        return not any(path == name or path.startswith(f"{name}/") for name in self.fresh)

    def _send(self, hexadecimal: str) -> None:
        pdu = bytes.fromhex(hexadecimal)
        answer = parse_store_response(memoryview(pdu)[HEAD_BYTES:]) if pdu[0] == 4 else None
        if answer is None or answer.status != SUCCESS:
            return
        named = [final for final in self.linked if Path(final).stem.encode("ascii") in pdu]
        final = max(named, key=len)
        temporary = self.linked[final]
        assert temporary not in self.dirty, "answered before its bytes were synced"
        durable = temporary in self.durable or self._holds(final)
        assert durable, "answered before any name of it was durable"
        assert self.rows[final] == "synced", "answered before its row was synced"
        self.acknowledged.append(final)


def lose_power(calls: Calls, rng: random.Random) -> int:
    """Take away what no sync made durable; a name that was removed may be there again."""
    lost = 0
    for final, temporary in calls.linked.items():
        if not calls._holds(final):
            Path(final).unlink()
            lost += 1
        elif not Path(temporary).exists() and rng.random() < 0.5:
            os.link(final, temporary)
    for torn in (Path(path) for path in calls.dirty):
        if torn.exists():
            torn.write_bytes(bytes(torn.stat().st_size))
    for name in sorted((Path(n) for n in calls.fresh), reverse=True):
        if name.is_dir() and not any(name.iterdir()):
            name.rmdir()
        elif name.suffix == ".part":
            name.unlink(missing_ok=True)
    return lost


def send_until_it_dies(port: int, paths: list[Path], acknowledged: list[Sent]) -> None:
    remote = RemoteAE(host="127.0.0.1", port=port, ae_title="NODE", calling_ae="BENCH")
    with suppress(NodeError):
        send_files(paths, remote, on_sent=acknowledged.append)


def sources(folder: Path, count: int) -> dict[str, tuple[Path, str]]:
    """Return path and content hash of new images by SOP Instance UID."""
    found = {}
    for path in write_series(folder, ct_series((count, 64, 64))):
        part10 = read_part10(path)
        found[part10.sop_instance_uid] = (path, content_sha256(path, part10))
    return found


def listing(settings) -> bytes:
    db = Database(settings.resolved_database_url)
    try:
        studies = list_studies(db, limit=1000)
        rows = [instances_of_study(db, study.study_instance_uid) for study in studies]
        return repr(rows).encode()
    finally:
        db.close()


def reindexed(settings) -> dict[str, int]:
    db = Database(settings.resolved_database_url)
    try:
        return reindex(db, Files(settings.data_dir), now=time.time())
    finally:
        db.close()


def test_s12_bytes_name_and_row_are_durable_before_each_answer(tmp_path, library):
    images = sources(tmp_path / "images", 60)
    log = tmp_path / "calls"
    shim = {"LD_PRELOAD": str(library), "ORDER_LOG": str(log)}
    acknowledged: list[Sent] = []
    with our_receiver(tmp_path / "node", environment=shim) as server:
        before = Calls().replay(log).fsyncs
        send_until_it_dies(server.port, [path for path, _ in images.values()], acknowledged)
        after = Calls().replay(log).fsyncs
    calls = Calls().replay(log)

    assert [sent.status for sent in acknowledged] == [SUCCESS] * 60
    assert len(calls.acknowledged) == 60
    assert all(calls._holds(final) for final in calls.linked)
    assert not list((tmp_path / "node" / "data" / "incoming").iterdir())
    stored = {kind: after[kind] - before[kind] for kind in after}
    assert stored["file"] == 60
    # A row each, and those of the association.
    assert stored["rows"] <= 60 + 6
    # Batches of names, the folders of the new series, and all final names together.
    assert stored["folder"] <= 14


@pytest.mark.parametrize("seed", range(6))
def test_s12_a_loss_of_power_takes_no_acknowledged_instance(tmp_path, library, seed):
    rng = random.Random(seed)
    batches = [sources(tmp_path / str(number), 80) for number in range(2)]
    images = {uid: source for batch in batches for uid, source in batch.items()}
    log = tmp_path / "calls"
    shim = {"LD_PRELOAD": str(library), "ORDER_LOG": str(log)}
    acknowledged: list[Sent] = []
    stop_after = rng.randrange(5, 120)
    with our_receiver(tmp_path / "node", environment=shim) as server:
        senders = [
            threading.Thread(
                target=send_until_it_dies,
                args=(server.port, [path for path, _ in batch.values()], acknowledged),
            )
            for batch in batches
        ]
        for sender in senders:
            sender.start()
        while len(acknowledged) < stop_after:
            time.sleep(0.001)
        server.processes[0].kill()
        for sender in senders:
            sender.join()
    calls = Calls().replay(log)
    lost = lose_power(calls, rng)
    settings = load_settings(tmp_path / "node" / "sentinel.toml")

    app.recover_data(settings)

    assert lost or seed  # the first one takes some for sure
    kept = {
        read_part10(path).sop_instance_uid: content_sha256(path, read_part10(path))
        for path in settings.data_dir.glob("studies/*/*/*.dcm")
    }
    for sent in acknowledged:
        uid = read_part10(sent.path).sop_instance_uid
        assert kept[uid] == images[uid][1]
    after = listing(settings)
    counts = reindexed(settings)
    assert not any(counts.values()), counts
    assert listing(settings) == after
