import threading

from structlog.testing import capture_logs

from node.errors import StorageUnavailable
from node.schedule import Clock


def test_a_sweep_that_failed_runs_again():
    calls, done = [], threading.Event()

    def sweep():
        calls.append(len(calls))
        if len(calls) == 3:
            done.set()
        raise RuntimeError("a defect")

    clock = Clock()
    clock.every(0.001, sweep, name="failing")
    clock.start()
    assert done.wait(10)
    clock.stop()

    assert calls[:3] == [0, 1, 2]


def test_stop_waits_for_the_running_sweep_and_starts_no_other():
    running, go_on, ended = threading.Event(), threading.Event(), []

    def sweep():
        running.set()
        go_on.wait(10)
        ended.append(1)

    clock = Clock()
    clock.every(0.001, sweep, name="long")
    clock.start()
    assert running.wait(10)
    stopper = threading.Thread(target=clock.stop)
    stopper.start()
    assert stopper.is_alive()
    go_on.set()
    stopper.join(10)

    assert ended == [1]


def test_a_sweep_without_its_database_says_what_the_database_says():
    done = threading.Event()

    def sweep():
        done.set()
        raise StorageUnavailable("database: attempt to write a readonly database")

    clock = Clock()
    clock.every(0.001, sweep, name="intake")
    with capture_logs() as lines:
        clock.start()
        assert done.wait(10)
        clock.stop()

    line = lines[0]
    assert (line["event"], line["sweep"]) == ("alarm: sweep failed", "intake")
    assert line["reason"] == "database: attempt to write a readonly database"
