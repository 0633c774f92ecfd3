"""Processes that draw and fit: what they are started with."""

import os

from node.toolkit.workers import Workers


def test_a_worker_has_one_thread_and_keeps_memory_and_this_process_stays_as_it_was(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)

    with Workers(1) as workers:
        assert workers.one(os.getenv, "OMP_NUM_THREADS") == "1"
        assert int(workers.one(os.getenv, "MALLOC_TRIM_THRESHOLD_")) > 10**9

    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ
