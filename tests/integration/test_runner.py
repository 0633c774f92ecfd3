"""The runner against its real border: child processes, kind and hostile."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from node.errors import (
    AttemptFailed,
    LeaseLost,
    ManifestError,
    PluginCrashed,
    PluginOutOfMemory,
    PluginTimedOut,
    RefusalCode,
    Refused,
    ResultInvalid,
    StorageUnavailable,
)
from node.inference.check import check_plugin
from node.inference.runner import Runner, RunOutcome
from node.manifest import Manifest
from tests.plugins import make_case, make_plugin

_REPOSITORY = Path(__file__).resolve().parents[2]

_WHOLE = """
case.volumes["ct"].array[0] = 7          # a copy of its own: allowed, seen by nobody
mask = mask_of(case)
return Result(
    segments=(Segment(name="mass", mask=mask, role="ct"),),
    measurements=(
        Measurement(name="volume", value=np.float32(1.5), segment="mass"),
        Measurement(name="diameter", value=2, segment="mass",
                    line=Line(slice_index=np.int64(2), start=(0.0, 1.0), end=(3, 4.5 - 1))),
    ),
    notes=(f"on {case.device} and {self.device}", str(sorted(case.attributes.items()))),
)
"""


_SHOUT = """
def shout_on_every_pipe():
    for fd in range(3, 12):
        try:
            os.write(fd, b"garbage\\n")
        except OSError:
            pass
"""


_FULL = """
def full(*_, **__):
    raise OSError(*{said})

"""


@pytest.fixture
def runner() -> Iterator[Runner]:
    runner = Runner("cpu", threads=1)
    yield runner
    runner.close()


@pytest.fixture
def run(runner: Runner, tmp_path: Path) -> Callable[[Manifest], RunOutcome]:
    jobs = tmp_path / "job"
    jobs.mkdir()

    def call(manifest: Manifest) -> RunOutcome:
        try:
            return runner.run(manifest, make_case(), job_folder=jobs)
        finally:
            assert not list(jobs.iterdir()), "pixels were left behind"

    return call


def gone(pid: int, timeout_s: float = 5.0) -> bool:
    """Whether the process ends (or is only waited for) within that time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_case_travels_there_and_a_result_back(tmp_path: Path, run) -> None:
    outcome = run(make_plugin(tmp_path, _WHOLE))

    segment, (volume, diameter) = outcome.result.segments[0], outcome.result.measurements
    expected = make_case().volumes["ct"].array > 0
    expected[0] = True
    np.testing.assert_array_equal(segment.mask, expected)
    assert (segment.name, segment.role, segment.finding) == ("mass", "ct", 1)
    assert segment.mask.dtype == np.bool_
    assert (volume.value, diameter.value) == (1.5, 2.0)
    assert diameter.line is not None
    assert (diameter.line.slice_index, diameter.line.end) == (2, (3.0, 3.5))
    assert outcome.result.notes == ("on cpu and cpu", "[('PatientAge', 61.5), ('PatientSex', 'F')]")
    assert outcome.device == "cpu"
    assert outcome.peak_memory_mb > 10


@pytest.mark.parametrize(
    "said",
    [
        (errno.ENOSPC, "No space left on device"),
        (errno.EROFS, "Read-only file system"),
        ("60 requested and 32 written",),  # numpy's words for a disk that took only a part
    ],
)
def test_s12_a_disk_that_does_not_take_the_result_is_no_crash_of_the_plugin(
    tmp_path: Path, run, said: tuple[object, ...]
) -> None:
    full = _FULL.format(said=said) + f"np.save = full\n{_WHOLE}"

    with pytest.raises(StorageUnavailable, match=r"disk: (No space|Read-only)"):
        run(make_plugin(tmp_path, full, name="full"))

    run(make_plugin(tmp_path, _WHOLE, name="well"))


def test_a_plugin_that_finds_the_disk_full_itself_crashed(tmp_path: Path, run) -> None:
    full = _FULL.format(said=(errno.ENOSPC, "No space left on device")) + "full()"

    with pytest.raises(PluginCrashed, match="No space left"):
        run(make_plugin(tmp_path, full))


def test_the_child_stays_warm_for_one_plugin_and_is_replaced_for_another(
    tmp_path: Path, run, runner: Runner
) -> None:
    one = make_plugin(tmp_path, name="one")
    two = make_plugin(tmp_path, name="two")

    first, pid = run(one), runner.pid
    again = run(one)
    assert runner.pid == pid
    assert first.load_seconds > 0 == again.load_seconds
    run(two)

    assert runner.pid != pid
    assert pid is not None
    assert gone(pid)


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("raise ValueError('/data/x/y.npy is bad')", PluginCrashed, "ValueError: y.npy is bad"),
        ("raise SystemExit(3)", PluginCrashed, "SystemExit: 3"),
        ("os._exit(7)", PluginCrashed, "ended by itself with status 7"),
        ("import ctypes; ctypes.string_at(0)", PluginCrashed, "died by SIGSEGV"),
        ("os.kill(os.getpid(), 9)", PluginCrashed, "died by SIGKILL"),
        ("os.write(2, b'last words /a/b/c'); os.abort()", PluginCrashed, "SIGABRT: last words c"),
        ("os.closerange(3, 100)\nimport time; time.sleep(60)", AttemptFailed, ""),
        ("while True: pass", PluginTimedOut, "no answer within 1 s"),
        ("raise MemoryError('enough')", PluginOutOfMemory, "MemoryError: enough"),
        ("raise OSError(12, 'Cannot allocate memory')", PluginOutOfMemory, "allocate"),
        ('raise RuntimeError("you can\'t allocate memory")', PluginOutOfMemory, "allocate"),
        ("np.ones(6 << 30, np.uint8)", PluginOutOfMemory, "MemoryError"),
        (
            "a = [np.ones(50 << 20, np.uint8) for _ in range(8)]\nimport time; time.sleep(60)",
            PluginOutOfMemory,
            "its limit is 300 MB",
        ),
        (
            "shout_on_every_pipe()\nos._exit(0)",
            PluginCrashed,
            "something that is not ours",
        ),
        ("return None", ResultInvalid, "run returned NoneType, not a Result"),
        (
            "return Result(segments=(Segment(name='mass', mask=mask_of(case)[1:], role='ct'),))",
            ResultInvalid,
            "has shape (2, 4, 5), the grid of input 'ct' has (3, 4, 5)",
        ),
        (
            "return Result(segments=(Segment(name='tumour', mask=mask_of(case), role='ct'),))",
            ResultInvalid,
            "segment 'tumour' is not declared; the manifest has segments: mass",
        ),
        (
            "return Result(measurements=(Measurement(name='volume', value=float('nan')),))",
            ResultInvalid,
            "is nan, not finite",
        ),
        (
            "import pickle\nmask = np.array([[[pickle]]], dtype=object)\n"
            "return Result(segments=(Segment(name='mass', mask=mask, role='ct'),))",
            ResultInvalid,
            "is object, not bool or uint8",
        ),
    ],
)
def test_a_failing_plugin_ends_its_attempt_with_a_reason_and_the_next_run_works(
    tmp_path: Path, run, runner: Runner, body: str, error: type[AttemptFailed], said: str
) -> None:
    hostile = make_plugin(
        tmp_path,
        _SHOUT + body,
        name="hostile",
        # Generous where the time limit is not what is tested: the machine may be busy.
        time_s=1 if error is PluginTimedOut else 30,
        memory_mb=300,
    )

    with pytest.raises(error) as raised:
        run(hostile)

    assert said in str(raised.value)
    assert str(tmp_path) not in str(raised.value)
    assert runner.pid is None
    assert run(make_plugin(tmp_path)).result.segments == ()


def test_prints_of_a_plugin_do_not_break_the_protocol(tmp_path: Path, run) -> None:
    body = """
    print('{"ok": true, "id": 2}')
    os.write(1, b'\\xff\\x00 not json\\n' * 10_000)
    import sys; sys.stdout.write('x'); assert sys.stdin.read() == ''
    return Result(notes=("done",))
    """

    assert run(make_plugin(tmp_path, body)).result.notes == ("done",)


def test_a_plugin_has_no_network(tmp_path: Path, run) -> None:
    manifest = make_plugin(
        tmp_path,
        """
        import socket
        said = []
        for address in (("127.0.0.1", PORT), ("192.0.2.1", 80)):
            try:
                socket.create_connection(address, timeout=2)
                said.append("connected")
            except OSError as error:
                said.append(type(error).__name__)
        return Result(notes=tuple(said))
        """.replace("PORT", "9"),
    )
    if not check_plugin(manifest).loaded.no_network:
        pytest.skip("this kernel lets nobody leave the network")

    # Network is unreachable, not refused.
    assert run(manifest).result.notes == ("OSError", "OSError")


def test_a_plugin_sees_no_secret_of_the_node(tmp_path: Path, run, monkeypatch) -> None:
    monkeypatch.setenv("PACS_PASSWORD", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")

    made = make_plugin(tmp_path, "return Result(notes=tuple(sorted(os.environ)))")
    notes = run(made).result.notes

    assert "PACS_PASSWORD" not in notes
    assert "PYTHONPATH" not in notes
    assert {"OMP_NUM_THREADS", "TMPDIR", "HOME"} <= set(notes)


def test_what_a_plugin_started_dies_with_it(tmp_path: Path, run) -> None:
    pids = tmp_path / "pids"
    body = f"""
    import subprocess, time
    started = [
        subprocess.Popen(["sleep", "600"], start_new_session=own_session)
        for own_session in (False, True)
    ]
    open({str(pids)!r}, "w").write(" ".join(str(p.pid) for p in started))
    time.sleep(600)
    """

    with pytest.raises(PluginTimedOut):
        run(make_plugin(tmp_path, body, time_s=1))

    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_crash_takes_the_plugins_own_children_with_it(tmp_path: Path, run) -> None:
    pids = tmp_path / "pids"
    body = f"""
    import subprocess
    started = [
        subprocess.Popen(["sleep", "600"], start_new_session=own_session)
        for own_session in (False, True)
    ]
    open({str(pids)!r}, "w").write(" ".join(str(p.pid) for p in started))
    os._exit(1)
    """

    with pytest.raises(PluginCrashed):
        run(make_plugin(tmp_path, body))

    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_memory_of_programs_that_a_plugin_started_counts(tmp_path: Path, run) -> None:
    body = """
    import subprocess, sys
    subprocess.run([sys.executable, "-c", "a = bytearray(400 << 20); import time; time.sleep(60)"])
    """

    with pytest.raises(PluginOutOfMemory, match="its limit is 300 MB"):
        run(make_plugin(tmp_path, body, memory_mb=300))


def test_the_child_dies_with_the_engine_even_while_native_code_holds_the_lock(
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "pid"
    make_plugin(
        tmp_path,
        f"""
        open({str(pid_file)!r}, "w").write(str(os.getpid()))
        import ctypes
        ctypes.PyDLL(None).sleep(600)  # PyDLL: keeps the interpreter's lock
        """,
    )
    (tmp_path / "job").mkdir()
    engine = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from tests.plugins import make_case;"
            "from node.inference.runner import Runner; from node.manifest_file import *;"
            "base = Path(sys.argv[1]);"
            "Runner('cpu').run(parse_manifest(base / 'tester-1.0.0'), make_case(),"
            " job_folder=base / 'job')",
            str(tmp_path),
        ],
        cwd=_REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        stdout=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 20
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        child = int(pid_file.read_text())
        assert psutil.pid_exists(child)
    finally:
        engine.send_signal(signal.SIGKILL)
        engine.wait()

    assert gone(child)


def test_an_idle_child_that_was_killed_is_replaced(tmp_path: Path, run, runner: Runner) -> None:
    manifest = make_plugin(tmp_path)
    run(manifest)
    pid = runner.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)

    assert run(manifest).result.segments == ()


def test_a_lost_lease_kills_the_run(tmp_path: Path, runner: Runner, monkeypatch) -> None:
    monkeypatch.setattr("node.inference.runner._HEARTBEAT_S", 0.1)
    beats = []

    def heartbeat() -> None:
        beats.append(runner.pid)
        if len(beats) > 2:
            raise LeaseLost("another worker owns the job")

    with pytest.raises(LeaseLost):
        runner.run(
            make_plugin(tmp_path, "import time; time.sleep(60)"),
            make_case(),
            job_folder=tmp_path,
            heartbeat=heartbeat,
        )

    assert runner.pid is None
    assert gone(beats[-1])


def test_another_thread_can_kill_a_run(tmp_path: Path, runner: Runner) -> None:
    timer = threading.Timer(0.7, runner.kill, ["the lease was lost"])
    timer.start()

    with pytest.raises(PluginCrashed, match="killed: the lease was lost"):
        runner.run(
            make_plugin(tmp_path, "import time; time.sleep(60)"), make_case(), job_folder=tmp_path
        )
    timer.join()


def test_a_closed_runner_runs_nothing_more(tmp_path: Path, runner: Runner) -> None:
    timer = threading.Timer(0.7, runner.close)
    timer.start()
    manifest = make_plugin(tmp_path, "import time; time.sleep(60)")

    for _ in range(2):
        with pytest.raises(PluginCrashed, match="the node stops"):
            runner.run(manifest, make_case(), job_folder=tmp_path)
    timer.join()


def test_a_plugin_that_changed_on_disk_is_not_run(tmp_path: Path, run) -> None:
    manifest = make_plugin(tmp_path)
    (manifest.folder / "net.py").write_text("LAYERS = 3\n")

    with pytest.raises(ManifestError, match="changed since the node started"):
        run(manifest)


def test_compiled_files_outside_the_digest_are_never_read(tmp_path: Path, run) -> None:
    make_plugin(tmp_path, "import net; return Result(notes=(net.WHO,))")
    folder = tmp_path / "tester-1.0.0"
    (folder / "net.py").write_text("WHO = 'evil'\n")
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)
    compiled = next((folder / "__pycache__").glob("net.*.pyc"))
    stamp = (folder / "net.py").stat()
    (folder / "net.py").write_text("WHO = 'good'\n")
    os.utime(folder / "net.py", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    manifest = make_plugin(tmp_path, "import net; return Result(notes=(net.WHO,))")

    assert compiled.is_file()
    assert run(manifest).result.notes == ("good",)
    assert len(list((folder / "__pycache__").iterdir())) == 2


def test_two_plugins_may_each_have_a_module_of_one_name(tmp_path: Path, run) -> None:
    notes = []
    for name in ("one", "two"):
        make_plugin(tmp_path, "", name=name)
        (tmp_path / f"{name}-1.0.0" / "net.py").write_text(f"WHO = {name!r}\n")
        body = "import net; return Result(notes=(net.WHO,))"
        notes += run(make_plugin(tmp_path, body, name=name)).result.notes

    assert notes == ["one", "two"]


def test_a_plugin_that_needs_cuda_is_refused_on_a_cpu_slot(tmp_path: Path, run) -> None:
    make_plugin(tmp_path)
    toml = tmp_path / "tester-1.0.0" / "plugin.toml"
    toml.write_text(toml.read_text() + 'device = "cuda"\n')
    from node.manifest_file import parse_manifest

    with pytest.raises(Refused) as raised:
        run(parse_manifest(toml.parent))

    assert raised.value.code is RefusalCode.DEVICE_UNAVAILABLE


def test_a_case_that_the_plugin_cannot_judge_is_refused_with_its_sentence(
    tmp_path: Path, run
) -> None:
    manifest = make_plugin(tmp_path, 'return Result(refusal="this is no chest: 3 mL of lung")')

    for _ in range(2):  # the child stays
        with pytest.raises(Refused, match="this is no chest: 3 mL of lung") as refused:
            run(manifest)

        assert refused.value.code == RefusalCode.CASE_UNSUITABLE


def test_a_refused_case_has_no_findings(tmp_path: Path, run) -> None:
    body = _WHOLE.replace("return Result(", 'return Result(refusal="none of mine",')

    with pytest.raises(ResultInvalid, match="refuses the case and returns findings"):
        run(make_plugin(tmp_path, body))


def test_check_says_what_holds_and_why_not(tmp_path: Path) -> None:
    good = check_plugin(make_plugin(tmp_path))
    bad = make_plugin(tmp_path, name="bad")
    (bad.folder / "plugin.py").write_text("class Plugin: load = 1 / 0\n")
    from node.manifest_file import parse_manifest

    broken = check_plugin(parse_manifest(bad.folder))

    assert good.ok
    assert "network: " in good.text
    assert "limit 1024 MB" in good.text
    assert not broken.ok
    assert "ZeroDivisionError" in broken.text
    assert str(tmp_path) not in broken.text


def test_a_missing_interpreter_is_said(tmp_path: Path, run) -> None:
    with pytest.raises(PluginCrashed, match="cannot start its interpreter: No such file"):
        run(make_plugin(tmp_path, python="/nowhere/python"))


@pytest.mark.slow
def test_another_interpreter_needs_numpy_only(tmp_path: Path, run) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    packages = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    for name in ("numpy", "numpy.libs"):
        source = Path(np.__file__).parents[1] / name
        if source.exists():
            (packages / name).symlink_to(source)
    body = """
    import importlib.util as util, sys
    found = [name for name in ("pydicom", "pydantic", "node.plugin") if util.find_spec(name)]
    return Result(notes=(sys.prefix, *found))
    """

    made = make_plugin(tmp_path, body, python=str(tmp_path / "venv/bin/python"))
    notes = run(made).result.notes

    assert notes == (str(tmp_path / "venv"), "node.plugin")
