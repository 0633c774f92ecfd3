import json
import os
import subprocess
import sys
import threading

import pytest

from node.errors import SettingsError, StorageUnavailable
from node.roles import announce
from node.settings import Settings
from node.supervisor import (
    Role,
    bind,
    bind_after_predecessor,
    is_ready,
    lock_data_folder,
    run_folder,
    say_ready,
    say_state,
)
from tests.make import free_port


def test_a_role_that_keeps_dying_starts_ever_later_and_raises_the_alarm():
    role, delays = Role("receiver"), []
    now = 0.0
    for _ in range(9):
        role.started_at = now
        role.exited(now + 1.0)
        delays.append(role.next_start_at - (now + 1.0))
        now = role.next_start_at

    assert delays == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert role.in_crash_loop


def test_a_healthy_time_forgives_old_exits():
    role = Role("engine", failures=4, started_at=0.0)

    role.exited(61.0)

    assert role.failures == 1
    assert not role.in_crash_loop


def test_a_taken_port_is_refused_with_what_to_do(tmp_path):
    settings = Settings(data_dir=tmp_path, port=free_port())
    with bind(settings), pytest.raises(SettingsError, match="choose another"):
        bind(settings)


def test_a_port_that_a_draining_receiver_holds_is_waited_for(tmp_path):
    port = free_port()
    hold = f"import socket, sys; s = socket.create_server(('127.0.0.1', {port})); "
    hold += "print(flush=True); sys.stdin.read()"
    old = subprocess.Popen(
        [sys.executable, "-c", hold, "receiver", "--settings"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert old.stdout is not None and old.stdin is not None
    old.stdout.readline()
    settings = Settings(data_dir=tmp_path, port=port)
    with pytest.raises(SettingsError):  # a stranger's
        bind_after_predecessor(settings)
    (run_folder(tmp_path) / "receiver.json").write_text(json.dumps({"pid": old.pid}))

    threading.Timer(0.3, old.stdin.close).start()
    bind_after_predecessor(settings).close()

    old.wait(10)
    old.stdout.close()


def test_two_nodes_on_one_data_folder_are_refused(tmp_path):
    with lock_data_folder(tmp_path), pytest.raises(StorageUnavailable, match="another node"):
        lock_data_folder(tmp_path)


def test_only_the_process_that_said_it_is_ready(tmp_path):
    say_ready(tmp_path, "receiver")

    assert is_ready(tmp_path, "receiver", os.getpid())
    assert not is_ready(tmp_path, "receiver", os.getpid() + 1)
    assert not is_ready(tmp_path, "engine", os.getpid())
    assert not is_ready(tmp_path, "receiver", None)


def test_a_disk_that_takes_nothing_does_not_end_the_supervisor(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be: every write fails")

    assert not say_state(tmp_path, {"ready": True})

    (tmp_path / "run").unlink()
    assert say_state(tmp_path, {"ready": True})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["state.json"]


def test_a_data_folder_that_cannot_be_written_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "node.lock").mkdir()

    with pytest.raises(StorageUnavailable, match="data folder"):
        lock_data_folder(tmp_path)


def test_a_role_on_a_full_disk_works_on_and_says_ready_when_there_is_room(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be: every write fails")
    stop = threading.Event()
    announcing = threading.Thread(target=announce, args=(tmp_path, "receiver", stop))
    announcing.start()
    announcing.join(0.2)
    assert announcing.is_alive()

    (tmp_path / "run").unlink()
    announcing.join(10)

    assert is_ready(tmp_path, "receiver", os.getpid())
