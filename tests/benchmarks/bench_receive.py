"""Our receiver against Orthanc's, and what it needs for itself (issue 3): `make bench` runs it.

DCMTK's storescu sends 300 CT instances of 512x512x16 bit over loopback with TCP_NODELAY to the
real receiver process and to a real Orthanc with its defaults, by turns, each time to an empty
server. Both are durable before they answer; how often each asks the disk is counted.
"""

from __future__ import annotations

import shutil
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from node.dicom.network import RemoteAE, associate, requested_contexts, send_file
from tests.benchmarks.sides import (
    IMAGES,
    Running,
    build_shim,
    counted,
    make_images,
    orthanc_receiver,
    our_receiver,
    send_all,
    shim_environment,
    where,
)
from tests.make import enhanced_ct, part10

RUNS = 5
_RSS_LIMIT_BYTES = 200e6
_EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return folders of different series."""
    root = tmp_path_factory.mktemp("images")
    folders = [root / str(number) for number in range(8)]
    for folder in folders:
        make_images(folder)
    return folders


@contextmanager
def ours_or_orthanc(name: str, folder: Path, environment: Mapping[str, str]) -> Iterator[Running]:
    """Run one of the two on an empty folder, which is removed afterwards."""
    make = our_receiver if name == "ours" else orthanc_receiver
    with make(folder, environment=environment) as server:
        yield server
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("senders", "delay_us", "at_least"),
    [
        (1, 0, 1.1),
        (4, 0, 0.9),
        # A lone sender waits for two syncs, one after the other, where Orthanc does one.
        (1, 2000, 0.7),
        (4, 2000, 0.7),
    ],
)
def test_receive_against_orthanc(tmp_path, images, senders, delay_us, at_least) -> None:
    library = build_shim(tmp_path)
    total = senders * IMAGES
    rates: dict[str, list[float]] = {"ours": [], "Orthanc": []}
    cpu: dict[str, list[float]] = {"ours": [], "Orthanc": []}
    calls = {}
    for _ in range(RUNS):
        for name in rates:
            log = tmp_path / "calls"
            log.write_text("")
            shim = shim_environment(library, delay_us=delay_us, log=log)
            with ours_or_orthanc(name, tmp_path / "server", shim) as server:
                log.write_text("")
                before = server.cpu_seconds()
                seconds = send_all(images[:senders], server.port, server.called)
                cpu[name].append(1000 * (server.cpu_seconds() - before) / total)
                rates[name].append(total / seconds)
                calls[name] = counted(log)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ratio = medians["ours"] / medians["Orthanc"]
    print(f"\n{where(tmp_path)}, fsync shim {delay_us} us\n{senders} senders:")
    for name, median in medians.items():
        kinds = ", ".join(f"{k} {n / total:.2f}" for k, n in sorted(calls[name].items()))
        print(
            f"  {name:8} {median:5.0f}/s ({', '.join(f'{rate:.0f}' for rate in rates[name])}), "
            f"CPU {statistics.median(cpu[name]):.1f} ms, fsync an instance: {kinds}"
        )
    print(f"  ratio {ratio:.2f} (at least {at_least})")
    assert ratio >= at_least


def test_a_sender_that_waits_for_nagle_keeps_its_rate(tmp_path, images) -> None:
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(RUNS):
        for no_delay in rates:
            with ours_or_orthanc("ours", tmp_path / "server", {}) as server:
                seconds = send_all(images[:1], server.port, server.called, no_delay=no_delay)
                rates[no_delay].append(IMAGES / seconds)
    with_it, without = (statistics.median(rates[no_delay]) for no_delay in (True, False))
    print(f"\nwithout TCP_NODELAY: {without:.0f}/s (at least 200), with it {with_it:.0f}/s")
    assert without >= 200


def test_an_idle_receiver_needs_no_processor(tmp_path, images) -> None:
    with our_receiver(tmp_path / "server") as server:
        remote = _remote(server)
        with associate(remote, requested_contexts([("1.2.840.10008.1.1", _EXPLICIT)])):
            time.sleep(1)
            before = server.cpu_seconds()
            time.sleep(10)
            share = (server.cpu_seconds() - before) / 10
    print(f"\nidle, one association open: {share:.2%} of a core (below 1 %)")
    assert share < 0.01


def test_memory_stays_small(tmp_path, images) -> None:
    with our_receiver(tmp_path / "server") as server:
        send_all(images, server.port, server.called)
        eight = server.peak_rss()
        repeated = ["--repeat", "2", "--invent-instance"]  # 3,000 in all
        send_all(images[:1], server.port, server.called, options=repeated)
        many = server.peak_rss()
        _send_one_huge(tmp_path / "huge.dcm", server)
        huge = server.peak_rss()
    print(
        f"\nRSS after 8 senders of {IMAGES}: {eight / 1e6:.0f} MB, after 600 more: "
        f"{many / 1e6:.0f} MB, after one object of 4 GB: {huge / 1e6:.0f} MB (below 200)"
    )
    assert max(eight, many, huge) < _RSS_LIMIT_BYTES


def test_nothing_leaks_over_ten_thousand_connections(tmp_path) -> None:
    with our_receiver(tmp_path / "server") as server:
        (process,) = server.processes
        _knock(server.port, 200)
        before = _quiet_state(process)
        _knock(server.port, 10_000)
        after = _quiet_state(process)
    print(f"\nhandles and threads before {before}, after 10,000 connects and aborts {after}")
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 1


def _remote(server: Running) -> RemoteAE:
    return RemoteAE(
        host="127.0.0.1",
        port=server.port,
        ae_title=server.called,
        calling_ae="BENCH",
        timeout_s=600,
    )


def _send_one_huge(path: Path, server: Running) -> None:
    """Send an enhanced CT whose pixel data have almost 4 GiB: the most that fits a length."""
    ds = enhanced_ct((2, 4, 4))
    del ds.PixelData
    length = (1 << 32) - 2
    head = part10(ds) + b"\xe0\x7f\x10\0OW\0\0" + length.to_bytes(4, "little")
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + length)
    with associate(_remote(server), requested_contexts([(ds.SOPClassUID, _EXPLICIT)])) as assoc:
        assert send_file(assoc, path) == 0x0000
    path.unlink()


def _knock(port: int, times: int) -> None:
    """Connect and go: by turns bare, with half a request, and with an abort."""
    abort = b"\x07\0\0\0\0\4\0\0\0\0"
    for number in range(times):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall((b"", b"\1\0\0\0\1", abort)[number % 3])


def _quiet_state(process: psutil.Process) -> tuple[int, int]:
    """Return file handles and threads when both have stopped falling."""
    state, last = (process.num_fds(), process.num_threads()), (-1, -1)
    while state != last:
        time.sleep(1.5)
        last, state = state, (process.num_fds(), process.num_threads())
    return state
