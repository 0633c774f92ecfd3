"""E1: several processes at one database lose nothing and do nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.storage.database import Database
from node.storage.migrate import migrate
from node.storage.presence_rows import acquire_leadership
from tests.contract.processes import count_in_processes


@pytest.fixture
def url(tmp_path: Path) -> str:
    made = f"sqlite:///{tmp_path / 'node.db'}"
    migrate(made, tmp_path)
    return made


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def test_three_processes_increment_a_row_and_nothing_is_lost(url: str, db: Database) -> None:
    assert count_in_processes(url, db, processes=3, times=500) == 1500


def test_one_engine_sweeps_until_its_lease_is_over(db: Database) -> None:
    assert acquire_leadership(db, "engine", "a", now=1000.0, lease_s=30.0)
    assert not acquire_leadership(db, "engine", "b", now=1029.0, lease_s=30.0)
    assert acquire_leadership(db, "engine", "a", now=1029.0, lease_s=30.0)
    assert not acquire_leadership(db, "engine", "b", now=1031.0, lease_s=30.0)
    assert acquire_leadership(db, "engine", "b", now=1060.0, lease_s=30.0)
    assert not acquire_leadership(db, "engine", "a", now=1061.0, lease_s=30.0)
