"""Our sender against DCMTK's, to the same receivers (issue 3): `make bench` runs it.

300 CT instances of 512x512x16 bit over loopback, TCP_NODELAY on both sides. One receiver
throws away what it gets (DCMTK's storescp), so that the sender is all that is measured; the
other is Orthanc with its defaults.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.benchmarks.sides import (
    IMAGES,
    make_images,
    orthanc_receiver,
    send_all,
    where,
)
from tests.make import free_port
from tests.peers import ENVIRONMENT, dcmtk, wait_until

RUNS = 5
#: Our rate over DCMTK's (issue 3).
AT_LEAST = 0.8

PROGRAM = """
import sys, time
from pathlib import Path
from node.dicom.network import RemoteAE
from node.dicom.send import dicom_files, send_files
remote = RemoteAE(host="127.0.0.1", port=int(sys.argv[2]), ae_title=sys.argv[3], calling_ae="BENCH")
start = time.perf_counter()
sent = send_files(dicom_files(Path(sys.argv[1])), remote)
print(time.perf_counter() - start)
sys.exit(0 if all(one.status == 0 for one in sent) else 1)
"""


def ours(folder: Path, port: int, called: str) -> float:
    """Send a folder by our sender in a process of its own; return the seconds.

    From the listing of the folder to the release of the association: the start of the
    interpreter is paid once in the life of a node.
    """
    command = [sys.executable, "-c", PROGRAM, str(folder), str(port), called]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@contextmanager
def throwing_away(_folder: Path) -> Iterator[tuple[int, str]]:
    """Run DCMTK's receiver, which keeps nothing."""
    port = free_port()
    process = subprocess.Popen(
        [dcmtk("storescp"), "--ignore", "-aet", "SINK", "--max-pdu", "131072", str(port)],
        env=ENVIRONMENT,
    )
    echo = [dcmtk("echoscu"), "-aec", "SINK", "127.0.0.1", str(port)]
    try:
        wait_until(
            lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0,
            timeout_s=10,
            what="storescp to answer",
        )
        yield port, "SINK"
    finally:
        process.kill()
        process.wait()


@contextmanager
def keeping(folder: Path) -> Iterator[tuple[int, str]]:
    """Run Orthanc with its defaults."""
    with orthanc_receiver(folder) as server:
        yield server.port, server.called


@pytest.mark.parametrize("receiver", [throwing_away, keeping])
def test_our_sender_against_dcmtk(tmp_path: Path, receiver) -> None:
    images = tmp_path / "images"
    make_images(images)
    rates: dict[str, list[float]] = {"DCMTK storescu": [], "ours": []}
    for run in range(RUNS):
        for name in rates:
            with receiver(tmp_path / f"{run}-{name[:4]}") as (port, called):
                if name == "ours":
                    seconds = ours(images, port, called)
                else:
                    seconds = send_all([images], port, called)
            rates[name].append(IMAGES / seconds)
            shutil.rmtree(tmp_path / f"{run}-{name[:4]}", ignore_errors=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = medians["ours"] / medians["DCMTK storescu"]
    print(f"\n{where(tmp_path)}\nsend to {receiver.__name__}, {RUNS} interleaved runs:")
    for name, median in medians.items():
        print(f"  {name:15} {median:6.0f}/s  ({', '.join(f'{r:.0f}' for r in rates[name])})")
    print(f"  ratio {ratio:.2f} (at least {AT_LEAST})")
    assert ratio >= AT_LEAST
