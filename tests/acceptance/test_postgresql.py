"""The rows on a real PostgreSQL: same schema, same rules (E1, E3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, text

from node.audit import Audit
from node.clinical import Said, enter, known
from node.errors import SchemaMismatch
from node.intake.completion import sweep
from node.model import Origin, StudyState
from node.parts import Node
from node.settings import Settings
from node.storage.database import SCHEMA_REVISION, Database
from node.storage.intake_rows import NewInstance, get_study, record_instance
from node.storage.migrate import migrate
from node.storage.tables import metadata
from tests.clinical_case import SPECS
from tests.contract import filled
from tests.contract.processes import count_in_processes
from tests.integration.test_priors import (
    BOTH,
    FRAME,
    filed_under_another_patient,
    open_site,
    run,
    standing,
    withdrawn,
)
from tests.integration.test_priors import study as day
from tests.make import ct_series
from tests.postgresql import postgresql
from tests.routing_site import RoutingSite
from tests.routing_site import manifest as routed_manifest

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        migrate(url, Path())
        yield url


@pytest.fixture
def db(server: str) -> Iterator[Database]:
    database = Database(server)
    yield database
    with database.write() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(delete(table))
    database.close()


def test_the_schema_on_postgresql_is_that_of_the_code(db: Database) -> None:
    with db.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    db.check_schema()


def test_every_table_takes_a_row(db: Database) -> None:
    filled.fill(db)


def test_clinical_values_are_kept_and_make_a_new_run(db: Database, tmp_path: Path) -> None:
    site = RoutingSite(tmp_path)
    site.db.close()
    site.db = db
    site.with_plugin(routed_manifest(clinical=SPECS))
    site.route(ct_series((4, 8, 8), PatientAge="060Y"))
    audit = Audit(site.settings.data_dir)
    node = Node(
        settings=site.settings, db=db, files=site.files, audit=audit, manifests=site.manifests
    )
    said = {"grade": Said(value="g1", by="A. Reader")}

    assert enter(node, site.study_uid, said, way="http", now=site.now).again
    site.dispatch()

    assert {v.name: v.value for v in site.jobs[-1].clinical} == {"age": 60.0, "grade": "g1"}
    assert known(node, site.study_uid)["values"]["grade"]["by"] == "A. Reader"


def test_s10_earlier_results_are_found_and_those_in_doubt_are_not(
    db: Database, tmp_path: Path
) -> None:
    site = open_site(tmp_path)
    site.db.close()
    node = replace(site, db=db)
    first = run(node, day(tmp_path, "2026-01-03", FrameOfReferenceUID=FRAME), *BOTH)
    second = run(node, day(tmp_path, "2026-03-01", FrameOfReferenceUID=FRAME), *BOTH)

    assert second.tracking == first.tracking
    assert standing(node) == [second.job.id, first.job.id]
    assert standing(node, but=second.job.id) == [first.job.id]
    assert standing(node, issuer_of_patient_id="ANOTHER") == []
    filed_under_another_patient(node, second)
    assert standing(node) == [first.job.id]
    withdrawn(node, first)
    assert standing(node) == []


def test_an_upgrade_asks_for_a_backup_that_the_administrator_made(db: Database) -> None:
    with db.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    try:
        with pytest.raises(SchemaMismatch, match="0000"):
            migrate(db.engine.url.render_as_string(hide_password=False), Path())
    finally:
        with db.write() as connection:
            connection.execute(
                text(f"UPDATE alembic_version SET version_num = '{SCHEMA_REVISION}'")
            )


def test_no_increment_is_lost(server: str, db: Database) -> None:
    assert count_in_processes(server, db, processes=3, times=300) == 900


def test_s13_a_study_is_completed_once(db: Database, tmp_path: Path) -> None:
    record_instance(
        db,
        NewInstance(
            study_instance_uid="1.2.3",
            series_instance_uid="1.2.3.1",
            sop_instance_uid="1.2.3.1.1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            modality="CT",
            content_sha256="0" * 64,
            pixel_sha256="",
            path="x",
            size_bytes=5 << 30,
            received_at=1_700_000_000.123456,
            calling_ae="CT1",
            called_ae="SENTINEL",
            peer="",
            origin=Origin.ROUTED,
        ),
    )
    settings = Settings(data_dir=tmp_path)
    assert sweep(db, settings, now=1_700_000_119.0) == ()
    assert sweep(db, settings, now=1_700_000_121.0) == ("1.2.3",)
    assert sweep(db, settings, now=1_700_000_300.0) == ()
    study = get_study(db, "1.2.3")
    assert study is not None
    assert study.state is StudyState.COMPLETE
