"""Connections to the rows: what a fault leaves behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event, text

from node.errors import StorageUnavailable
from node.storage.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path / 'node.db'}")
    with made.write() as rows:
        rows.execute(text("CREATE TABLE note (word TEXT)"))
    made.close()
    yield made
    made.close()


def test_s12_a_connection_opened_while_the_file_system_was_read_only_is_not_kept(
    database: Database, tmp_path: Path
) -> None:
    # SQLite falls back to reading where it cannot open a file for writing, and says nothing.
    broken = [True]

    @event.listens_for(database.engine, "do_connect")
    def _open(_dialect, _record, _arguments, _keywords) -> sqlite3.Connection:
        mode = "ro" if broken[0] else "rw"
        address = f"file:{tmp_path / 'node.db'}?mode={mode}"
        return sqlite3.connect(address, uri=True, check_same_thread=False)

    def write(word: str) -> None:
        with database.write() as rows:
            rows.execute(text("INSERT INTO note VALUES (:word)"), {"word": word})

    with database.read() as one, database.read() as other:  # two in the pool
        assert one.execute(text("SELECT count(*) FROM note")).scalar() == 0
        assert other.execute(text("SELECT count(*) FROM note")).scalar() == 0
    broken[0] = False

    with pytest.raises(StorageUnavailable, match="readonly"):
        write("refused once")
    for word in ("first", "second"):
        write(word)

    with database.read() as one, database.read() as other:
        assert one.execute(text("SELECT count(*) FROM note")).scalar() == 2
        assert other.execute(text("SELECT count(*) FROM note")).scalar() == 2
