"""Destinations with equal profiles share objects, others get their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from node.editions import Edition, editions_of
from node.errors import SettingsError
from node.model import DestinationGrade, Grade, Job, JobState
from node.profiles import DWV, OHIF, PLAIN_PACS, STANDARD
from node.settings import DestinationSettings, ReleaseSettings, Settings
from tests.routing_site import manifest


def to(name: str, **changes: object) -> DestinationSettings:
    values = {"kind": "folder", "grade": DestinationGrade.TEST, **changes}
    return DestinationSettings(name=name, **values)  # type: ignore[arg-type]


def job_to(*names: str) -> Job:
    return Job(
        id="0" * 32,
        study_instance_uid="1.2.3",
        study_revision=1,
        rule="check",
        plugin="check",
        plugin_version="1.0.0",
        plugin_digest="0" * 64,
        state=JobState.IN_PROGRESS,
        reason_code="",
        reason="",
        fingerprint="0" * 64,
        run_number=1,
        inputs=(),
        destinations=names,
        attempt=1,
        created_at=0.0,
        started_at=0.0,
        ended_at=None,
    )


def editions(
    *places: DestinationSettings, declared: tuple[str, ...] = (), **changes: object
) -> tuple[Edition, ...]:
    settings = Settings(data_dir=Path("/data"), destinations=places, **changes)  # type: ignore[arg-type]
    job = job_to(*(one.name for one in places))
    return editions_of(job, settings, manifest(grade=Grade.EVALUATED), declared=declared)


def test_s01_equal_profiles_share_one_edition_in_the_order_of_the_rule() -> None:
    own = replace(OHIF, name="our viewer", iocm="quality")
    found = editions(to("a", profile=OHIF), to("b", profile=DWV), to("c", profile=own))
    assert [[one.name for one in edition.destinations] for edition in found] == [["a", "c"], ["b"]]
    addressed = [(one.destination, one.profile) for one in found[0].addressees]
    assert addressed == [("a", "ohif"), ("c", "our viewer")]
    assert len({one.encoding for edition in found for one in edition.addressees}) == 2


def test_s27_an_unknown_site_gets_pictures_and_text() -> None:
    (found,) = editions(to("a"))
    assert found.profile == PLAIN_PACS


def test_without_destinations_all_that_the_standard_has_is_made() -> None:
    assert editions() == (Edition(profile=STANDARD),)


def test_s06_each_destination_gets_the_character_set_that_it_asks_for() -> None:
    places = to("a"), to("b", charset="source")
    (same,) = editions(*places)
    assert same.charset == "ISO_IR 192"
    assert [one.charset for one in editions(*places, declared=("ISO_IR 100",))] == [
        "ISO_IR 192",
        "ISO_IR 100",
    ]
    (_, several) = editions(*places, declared=("", "ISO 2022 IR 87"))
    assert several.charset == "\\ISO 2022 IR 87"


def test_s04_only_a_clinical_destination_of_a_released_rule_gets_a_product() -> None:
    release = ReleaseSettings(
        plugin="check", digest=manifest().digest, rule="check", by="A", on="2026-01-31"
    )
    places = to("pacs", grade=DestinationGrade.CLINICAL), to("archive")
    words = [one.content_qualification for one in editions(*places, releases=(release,))]
    assert words == ["PRODUCT", "RESEARCH"]
    assert [one.content_qualification for one in editions(*places)] == ["RESEARCH"]


def test_a_destination_that_left_the_settings_is_named() -> None:
    with pytest.raises(SettingsError, match="no destination gone"):
        editions_of(job_to("gone"), Settings(data_dir=Path("/data")), manifest(), declared=())
