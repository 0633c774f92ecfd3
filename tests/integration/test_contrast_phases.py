"""Two contrast phases of one patient, through the whole node but its processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from node.manifest import InputRole
from node.model import Job, JobState
from node.routing.explain import explain_text
from node.settings import PLAIN_PHASES, PhaseSettings
from node.storage.job_rows import get_report
from node.storage.retry_rows import retry_job
from tests.hospital import Hospital, open_hospital, rule_for
from tests.make import ct_series, mr_series, with_identity_of
from tests.regions_case import binary, blob
from tests.roi_plugin import write_phase_plugin
from tests.routing_site import RULE, RoutingSite, manifest

SHAPE = (6, 20, 16)
#: HU inside and around the tumour.
ARTERIAL_HU, PORTAL_HU = 120, 70
BOLUS = {"ContrastBolusStartTime": "100000", "ContentTime": None}
ART, PV = BOLUS | {"AcquisitionTime": "100032"}, BOLUS | {"AcquisitionTime": "100112"}


def ct(hu: int, number: int, **header: object) -> list[Dataset]:
    values = np.full(SHAPE, hu, np.int16)
    return ct_series(SHAPE, values=values, SeriesNumber=number, **header)  # type: ignore[arg-type]


def study(*all_series: list[Dataset]) -> list[Dataset]:
    """Return the series as one study in one frame of reference, with a tumour on the first."""
    first = all_series[0]
    images = [ds for one in all_series for ds in with_identity_of(first[0], one)]
    return [*images, binary(first, blob(SHAPE))]


def in_one_series(first: list[Dataset], second: list[Dataset]) -> list[Dataset]:
    for ds in second:
        ds.SeriesInstanceUID = first[0].SeriesInstanceUID
    return first + with_identity_of(first[0], second)


def run(folder: Path, datasets: list[Dataset], **settings: object) -> tuple[Job, dict, str]:
    """Return the job, its measurements by name, and what `explain` says."""
    said = PhaseSettings(**settings) if settings else PLAIN_PHASES  # type: ignore[arg-type]
    plugins = write_phase_plugin(folder / "plugins")
    with open_hospital(folder, plugins, rule_for("two_phases", phases=said)) as hospital:
        return receive(hospital, datasets)


def receive(hospital: Hospital, datasets: list[Dataset]) -> tuple[Job, dict, str]:
    hospital.receive(datasets)
    hospital.sweep()
    job = hospital.jobs(datasets[0].StudyInstanceUID)[-1]
    made = get_report(hospital.node.db, job.id).get("measurements", ())
    text = explain_text(hospital.node.db, job.study_instance_uid)
    return job, {one["name"]: one["value"] for one in made}, text


RIGHT = {"arterial": ARTERIAL_HU, "portal_venous": PORTAL_HU}
STUDIES = {
    "two series": study(
        ct(PORTAL_HU, 3, SeriesDescription="Leber portalvenös"),
        ct(ARTERIAL_HU, 2, SeriesDescription="Leber arteriell"),
    ),
    "two series, the other way round": study(
        ct(PORTAL_HU, 2, SeriesDescription="ABD PV 5.0"),
        ct(ARTERIAL_HU, 3, SeriesDescription="ABD ART 5.0"),
    ),
    "two series beside a native one": study(
        ct(PORTAL_HU, 2, SeriesDescription="pv"),
        ct(40, 1, SeriesDescription="ABDOMEN NON-CONTRAST"),
        ct(ARTERIAL_HU, 3, SeriesDescription="art"),
    ),
    "two series by time alone": study(ct(PORTAL_HU, 2, **PV), ct(ARTERIAL_HU, 3, **ART)),
    "one series": study(in_one_series(ct(PORTAL_HU, 4, **PV), ct(ARTERIAL_HU, 4, **ART))),
    "one series, the other way round": study(
        in_one_series(
            ct(PORTAL_HU, 4, **PV, AcquisitionNumber=1),
            ct(ARTERIAL_HU, 4, **ART, AcquisitionNumber=2),
        )
    ),
    "one series by comments": study(
        in_one_series(
            ct(PORTAL_HU, 4, AcquisitionNumber=1, ImageComments="portal venous"),
            ct(ARTERIAL_HU, 4, AcquisitionNumber=2, ImageComments="arterial"),
        )
    ),
}


@pytest.mark.parametrize("datasets", STUDIES.values(), ids=STUDIES)
def test_s18_each_phase_comes_to_its_input(tmp_path: Path, datasets: list[Dataset]):
    job, values, text = run(tmp_path, datasets)

    assert (job.state, job.reason) == (JobState.COMPLETED, "")
    assert values == pytest.approx(RIGHT)
    assert "says arterial" in text


def test_s18_the_order_of_two_parts_is_a_guess_until_the_site_says_otherwise(tmp_path: Path):
    first, second = {"AcquisitionTime": "100032"}, {"AcquisitionTime": "100112"}
    more = {"SeriesDescription": "Leber art/pv", "ContentTime": None}
    datasets = study(
        in_one_series(ct(PORTAL_HU, 4, **second, **more), ct(ARTERIAL_HU, 4, **first, **more))
    )

    refused, _, _ = run(tmp_path / "ours", datasets)
    evidence = ("description", "order")
    job, values, text = run(tmp_path / "site", datasets, evidence=evidence)

    assert (refused.state, refused.reason_code) == (JobState.REFUSED, "NO_SUITABLE_SERIES")
    assert "(art, pv) names no single phase" in refused.reason
    assert job.state is JobState.COMPLETED
    assert values == pytest.approx(RIGHT)
    assert "this is the first of 2 acquisitions" in text


def other_frame(datasets: list[Dataset]) -> list[Dataset]:
    for ds in datasets:
        ds.FrameOfReferenceUID = f"{ds.FrameOfReferenceUID}.7"
    return datasets


BAD = {
    "one phase missing": (
        lambda: study(ct(PORTAL_HU, 2, SeriesDescription="pv")),
        "NO_SUITABLE_SERIES",
        "the only candidate does not serve the input arterial: series 2: its contrast phase is "
        "portal_venous, not arterial",
    ),
    "nothing said": (
        lambda: study(ct(PORTAL_HU, 2), ct(ARTERIAL_HU, 3)),
        "NO_SUITABLE_SERIES",
        "its contrast phase is not known, arterial is asked for",
    ),
    "contradicting evidence": (
        lambda: study(
            ct(PORTAL_HU, 2, SeriesDescription="pv"),
            ct(ARTERIAL_HU, 3, SeriesDescription="art", **PV),
        ),
        "PHASE_CONTRADICTORY",
        "series 3: its headers say different contrast phases: Series Description (art) says "
        "arterial; the acquisition 72 s after the start of the bolus says portal_venous",
    ),
    "MR instead of CT": (
        lambda: study(
            ct(PORTAL_HU, 2, SeriesDescription="pv"),
            mr_series(SHAPE, SeriesNumber=3, SeriesDescription="art"),
        ),
        "NO_SUITABLE_SERIES",
        "none of 2 candidates serves the input arterial: series 2: its contrast phase is portal",
    ),
    "MR alone": (
        lambda: study(mr_series(SHAPE, SeriesDescription="art")),
        "NO_SUITABLE_SERIES",
        "the only candidate does not serve the input arterial: series 1: modality MR is not CT",
    ),
}


@pytest.mark.parametrize(("made", "code", "sentence"), BAD.values(), ids=BAD)
def test_s18_without_both_phases_for_sure_it_is_refused(
    tmp_path: Path, made, code: str, sentence: str
):
    datasets = made()

    job, _, text = run(tmp_path, datasets)

    assert (job.state, job.reason_code) == (JobState.REFUSED, code)
    assert sentence in job.reason
    assert sentence in text
    assert ("modality MR is not CT" in text) == any(ds.Modality == "MR" for ds in datasets)


def test_s17_phases_in_two_frames_of_reference_are_refused_through_the_node(tmp_path: Path):
    datasets = study(ct(PORTAL_HU, 2, SeriesDescription="pv"))
    moved = with_identity_of(datasets[0], ct(ARTERIAL_HU, 3, SeriesDescription="art"))

    job, _, _ = run(tmp_path, [*datasets, *other_frame(moved)])

    assert (job.state, job.reason_code) == (JobState.REFUSED, "FRAME_OF_REFERENCE_MIXED")
    assert "another frame of reference than the other phases" in job.reason


def test_s14_the_phase_that_comes_late_makes_the_job(tmp_path: Path):
    datasets = study(ct(PORTAL_HU, 2, SeriesDescription="pv"))
    late = with_identity_of(datasets[0], ct(ARTERIAL_HU, 3, SeriesDescription="art"))
    plugins = write_phase_plugin(tmp_path / "plugins")
    with open_hospital(tmp_path, plugins, rule_for("two_phases")) as hospital:
        first, _, _ = receive(hospital, datasets)
        job, values, _ = receive(hospital, late)

    assert first.state is JobState.REFUSED
    assert (job.state, job.id == first.id) == (JobState.COMPLETED, False)
    assert values == pytest.approx(RIGHT)


def test_a_sites_words_serve_where_ours_do_not(tmp_path: Path):
    datasets = study(
        ct(PORTAL_HU, 2, SeriesDescription="Leber 2"),
        ct(ARTERIAL_HU, 3, SeriesDescription="Leber 1"),
    )

    job, values, _ = run(tmp_path, datasets, arterial=("Leber 1",), portal_venous=("Leber 2",))

    assert job.state is JobState.COMPLETED
    assert values == pytest.approx(RIGHT)


def test_a_refused_study_goes_on_when_the_site_has_named_its_words(tmp_path: Path):
    portal = ct_series(SHAPE, SeriesNumber=2, SeriesDescription="Leber 2")
    arterial = ct_series(SHAPE, SeriesNumber=3, SeriesDescription="Leber 1")
    roles = {p: InputRole(name=p, modality=("CT",), phase=p) for p in ("arterial", "portal_venous")}
    site = RoutingSite(tmp_path)
    site.with_plugin(manifest(inputs=roles))
    site.route([*portal, *with_identity_of(portal[0], arterial)])
    (refused,) = site.jobs

    said = PhaseSettings(arterial=("Leber 1",), portal_venous=("Leber 2",))
    site.with_rules(replace(RULE, phases=said))
    retry_job(site.db, refused.id, now=site.now)
    site.dispatch()

    assert [job.state for job in site.jobs] == [JobState.REFUSED, JobState.SCHEDULED]
    chosen = {one.role: one.series_instance_uid for one in site.jobs[-1].inputs}
    assert chosen["arterial"] == arterial[0].SeriesInstanceUID
    site.db.close()


def test_s28_no_reason_holds_the_text_of_a_header(tmp_path: Path):
    secret = "Mustermann"
    job, _, text = run(
        tmp_path,
        study(
            ct(PORTAL_HU, 2, SeriesDescription=f"pv {secret}"),
            ct(ARTERIAL_HU, 3, SeriesDescription=f"art {secret}", **PV),
        ),
    )

    assert secret.casefold() not in f"{job.reason}{text}".casefold()
