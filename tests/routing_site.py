"""A node's rows, files and settings for tests of routing; time is passed in."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydicom import Dataset

from node.manifest import InputRole, Limits, Manifest
from node.model import DestinationGrade, Grade, Job, Origin, Study, StudyState
from node.routing.dispatch import dispatch_complete
from node.settings import (
    Condition,
    DestinationSettings,
    PeerSettings,
    RuleSettings,
    Settings,
)
from node.storage.database import Database
from node.storage.decision_rows import Decision, decisions_of_study
from node.storage.files import Files
from node.storage.intake_rows import NewInstance, change_study, get_study, record_instance
from node.storage.job_rows import jobs_of_study
from node.storage.tables import metadata
from tests.make import part10

NOW = time.time()
CT = Condition(
    operator="all", children=(Condition(operator="equals", name="Modality", value="CT"),)
)
ARCHIVE = DestinationSettings(name="archive", kind="folder", grade=DestinationGrade.RESEARCH)
RULE = RuleSettings(name="check", plugin="check", when=CT, destinations=("archive",))
PEER = PeerSettings(name="ct1", ae_title="CT1")


def manifest(name: str = "check", **changes: object) -> Manifest:
    plain = Manifest(
        folder=Path("/plugins") / name,
        name=name,
        version="1.0.0",
        title="Check",
        intended_use="Tests.",
        source="tests",
        grade=Grade.EVALUATED,
        inputs={"ct": InputRole(name="ct", modality=("CT",))},
        limits=Limits(),
        digest=hashlib.sha256(name.encode()).hexdigest(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


class RoutingSite:
    def __init__(self, folder: Path):
        self.db = Database(f"sqlite:///{folder / 'node.db'}")
        metadata.create_all(self.db.engine)
        self.files = Files(folder / "data")
        self.files.prepare()
        self.settings = Settings(
            data_dir=folder / "data", destinations=(ARCHIVE,), rules=(RULE,), peers=(PEER,)
        )
        self.manifests = {"check@1.0.0": manifest()}
        self.now = NOW
        self.study_uid = ""

    def with_plugin(self, made: Manifest) -> None:
        self.manifests = {made.name_version: made}

    def with_rules(self, *rules: RuleSettings) -> None:
        self.settings = replace(self.settings, rules=rules)

    def store(
        self, datasets: Sequence[Dataset], *, origin: Origin = Origin.ROUTED, called: str = "NODE"
    ) -> None:
        """Keep data sets as the receiver would."""
        for ds in datasets:
            uids = (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID)
            content = part10(ds)
            sha256 = hashlib.sha256(content).hexdigest()
            path = self.files.instance_path(*uids)
            if path.exists():
                path = self.files.instance_path(*uids, sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            record_instance(
                self.db,
                NewInstance(
                    study_instance_uid=uids[0],
                    series_instance_uid=uids[1],
                    sop_instance_uid=uids[2],
                    sop_class_uid=ds.SOPClassUID,
                    transfer_syntax_uid=ds.file_meta.TransferSyntaxUID,
                    modality=ds.Modality,
                    content_sha256=sha256,
                    pixel_sha256=hashlib.sha256(ds.get("PixelData", b"")).hexdigest(),
                    path=self.files.relative(path),
                    size_bytes=len(content),
                    received_at=self.now,
                    calling_ae="CT1",
                    called_ae=called,
                    peer="ct1",
                    origin=origin,
                ),
            )
            self.study_uid = ds.StudyInstanceUID

    def complete(self) -> None:
        change_study(
            self.db,
            self.study_uid,
            StudyState.RECEIVING,
            StudyState.COMPLETE,
            now=self.now,
            reason="no image for 120 s",
        )

    def dispatch(self) -> int:
        self.now += 1.0
        return dispatch_complete(self.db, self.files, self.settings, self.manifests, now=self.now)

    def route(self, datasets: Sequence[Dataset] = ()) -> tuple[Decision, ...]:
        """Store, complete, dispatch; return the decisions of this revision."""
        self.store(datasets)
        self.complete()
        self.dispatch()
        return self.decisions(self.study.revision)

    def decisions(self, revision: int | None = None) -> tuple[Decision, ...]:
        found = decisions_of_study(self.db, self.study_uid)
        return tuple(one for one in found if revision in (None, one.study_revision))

    @property
    def study(self) -> Study:
        found = get_study(self.db, self.study_uid)
        assert found is not None
        return found

    @property
    def jobs(self) -> tuple[Job, ...]:
        return jobs_of_study(self.db, self.study_uid)
