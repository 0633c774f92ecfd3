"""Connections to the rows: what a fault leaves behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from node.errors import StorageUnavailable
from node.storage.database import Database
from node.storage.statements import Prepared


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


def open_files(name: str) -> list[str]:
    """What this process holds open of the rows' files."""
    found = []
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(handle.readlink().name)
    return [file for file in found if file.startswith(name)]


INSERT = text("INSERT INTO note VALUES (:word)")


@pytest.mark.parametrize(
    "write",
    [
        lambda rows, word: rows.execute(INSERT, {"word": word}),
        lambda rows, word: Prepared(INSERT).run(rows, word=word),
    ],
    ids=["SQLAlchemy", "the quick way"],
)
def test_s12_nothing_stays_open_of_what_was_opened_read_only(
    database: Database, write: Callable[[Connection, str], object]
) -> None:
    # SQLite shares what it knows of a file among the connections of a process: one that stays
    # open, in another thread or because of its error, makes every new one read-only too.
    with database.read() as held:
        raw = held.connection.dbapi_connection
        with pytest.raises(StorageUnavailable, match="readonly") as kept, database.write() as rows:
            # After BEGIN: a database that only its own file keeps from writing gets so far.
            rows.connection.dbapi_connection.execute("PRAGMA query_only=ON")
            write(rows, "refused")
        raw.execute("SELECT count(*) FROM note")  # in use: not taken from its user

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        raw.execute("SELECT count(*) FROM note")
    assert kept.value is not None  # a worker that waits holds its error for as long
    assert open_files("node.db") == []
    with database.write() as rows:
        write(rows, "well again")
        again = rows.connection.dbapi_connection
    again.execute("SELECT count(*) FROM note")  # kept: nothing was refused to it
