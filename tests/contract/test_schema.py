"""The migrated schema is exactly `tables.metadata`, and a foreign one is refused (E3)."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from node.errors import SchemaMismatch
from node.storage import migrate as migrations
from node.storage.database import SCHEMA_REVISION, Database
from node.storage.migrate import migrate
from node.storage.tables import metadata, study

DUMPS = Path(__file__).parent / "dumps"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'node.db'}"


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    migrate(url, tmp_path / "backups")
    made = Database(url)
    yield made
    made.close()


def differences(database: Database) -> list[object]:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def test_migrated_tables_are_exactly_the_tables_of_the_code(database: Database) -> None:
    assert differences(database) == []
    database.check_schema()


def test_every_statement_is_that_of_the_code(database: Database, tmp_path: Path) -> None:
    fresh = Database(f"sqlite:///{tmp_path / 'fresh.db'}")
    with fresh.write() as connection:
        metadata.create_all(connection)
    assert statements(fresh) == statements(database)
    fresh.close()


def statements(database: Database) -> dict[str, list[str]]:
    with database.read() as connection:
        rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL"))
        return {
            name: sorted(line.strip(" ,\t") for line in sql.splitlines())
            for name, sql in rows
            if name != "alembic_version"
        }


def test_a_second_migration_changes_nothing(url: str, tmp_path: Path) -> None:
    assert migrate(url, tmp_path / "backups") == ("", SCHEMA_REVISION)
    assert migrate(url, tmp_path / "backups") == (SCHEMA_REVISION, SCHEMA_REVISION)
    assert not (tmp_path / "backups").exists()


def test_a_foreign_schema_is_refused_with_both_numbers(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match=rf"9999.*{SCHEMA_REVISION}"):
        database.check_schema()
    with pytest.raises(SchemaMismatch, match=rf"9999.*{SCHEMA_REVISION}"):
        migrate(database.url, tmp_path / "backups")


def test_an_empty_database_is_refused_by_a_role(url: str) -> None:
    empty = Database(url)
    with pytest.raises(SchemaMismatch, match="none"):
        empty.check_schema()
    empty.close()


def test_the_backup_of_a_live_database_holds_its_rows_and_is_private(
    database: Database, tmp_path: Path
) -> None:
    with database.write() as connection:
        connection.execute(insert(study).values(**a_study("1.2.3")))
    copy = migrations.back_up_sqlite(database.url, tmp_path / "backups", "0001")
    assert copy.name.startswith("node-schema-0001-")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as saved:
        assert saved.execute("SELECT study_instance_uid FROM study").fetchall() == [("1.2.3",)]


@pytest.mark.parametrize("dump", sorted(DUMPS.glob("*.sql")), ids=lambda path: path.stem)
def test_a_filled_dump_of_every_earlier_schema_migrates_to_head(dump: Path, tmp_path: Path) -> None:
    path = tmp_path / "node.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(dump.read_text())
    url = f"sqlite:///{path}"
    assert migrate(url, tmp_path / "backups") == (dump.stem, SCHEMA_REVISION)
    loaded = Database(url)
    assert differences(loaded) == []
    filled = [t for t in metadata.sorted_tables if f"CREATE TABLE {t.name} " in dump.read_text()]
    assert len(filled) >= 13
    with loaded.read() as connection:
        for table in filled:
            assert connection.execute(select(table)).first() is not None, table.name
    loaded.close()


def a_study(uid: str) -> dict[str, object]:
    return {
        "study_instance_uid": uid,
        "state": "RECEIVING",
        "revision": 0,
        "first_received_at": 1.0,
        "last_received_at": 2.0,
        "last_image_at": 2.0,
    }
