"""Whether an earlier result still stands, by what is stored today: patient, images, dates (S3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.age import date_of
from node.dicom.headers import identity_of, read_header
from node.dicom.registration import SPATIAL_REGISTRATION, rigid_matrices
from node.dicom.values import lookup_in, text
from node.errors import MalformedDataset, Refused
from node.model import Identity, Instance, InstanceState
from node.parts import Node
from node.storage.intake_rows import get_study, instances_of_study
from node.storage.prior_rows import Prior

_UNSETTLED = frozenset({InstanceState.CONFLICT, InstanceState.UNRESOLVED})


def doubt_about(prior: Prior, identity: Identity, node: Node) -> str:
    """Return why an earlier result is not used, "" if it is; without any value (S3, S28).

    Its row remembers the patient of its day. What counts is whom its images say today.

    Parameters
    ----------
    identity : Identity
        The patient of the run that asks.
    """
    job = prior.job
    instances = instances_of_study(node.db, job.study_instance_uid)
    wanted = {uid for one in job.inputs for uid in one.sop_instance_uids}
    used = [one for one in instances if one.sop_instance_uid in wanted]
    if any(one.state in _UNSETTLED for one in used):
        return "its images are here in two versions"
    stored = {one.sop_instance_uid: one for one in used if one.state is InstanceState.STORED}
    if not wanted or wanted - stored.keys():
        return "its images are not here any more"
    first = next(uid for one in job.inputs for uid in one.sop_instance_uids)
    theirs = _identity(node, job.study_instance_uid, stored[first])
    if theirs is None:
        return "its patient cannot be read any more"
    differs = _differences(identity, theirs)
    return f"{' and '.join(differs)} differ now" if differs else ""


def _differences(today: Identity, earlier: Identity) -> list[str]:
    """Return in what two headers name different patients.

    Strict for the number and who issued it; of name and birth date, what is empty says nothing.
    """
    strict = {
        "Patient IDs": (today.patient_id, earlier.patient_id),
        "issuers of the Patient ID": (today.issuer_of_patient_id, earlier.issuer_of_patient_id),
    }
    stated = {
        "patient names": (today.patient_name, earlier.patient_name),
        "birth dates": (today.patient_birth_date, earlier.patient_birth_date),
    }
    return [
        *(what for what, (a, b) in strict.items() if a != b),
        *(what for what, (a, b) in stated.items() if a and b and a != b),
    ]


def _identity(node: Node, study_instance_uid: str, one: Instance) -> Identity | None:
    header = _header(node, study_instance_uid, one)
    try:
        return None if header is None else identity_of(header)
    except Refused:
        return None


def _header(node: Node, study_instance_uid: str, one: Instance) -> Dataset | None:
    study = get_study(node.db, study_instance_uid)
    peers = [p for p in node.settings.peers if study is not None and p.name == study.peer]
    charset = peers[0].assumed_charset if peers else ""
    try:
        return read_header(node.files.absolute(one.path), assumed_charset=charset)
    except (MalformedDataset, OSError):
        return None


def registrations_of(
    node: Node, study_instance_uid: str, identity: Identity
) -> Iterator[Mapping[str, NDArray[np.float64]]]:
    """Yield what the Spatial Registration objects of the study say, if they are the patient's."""
    for one in instances_of_study(node.db, study_instance_uid):
        if one.sop_class_uid != SPATIAL_REGISTRATION or one.state is not InstanceState.STORED:
            continue
        header = _header(node, study_instance_uid, one)
        theirs = _identity(node, study_instance_uid, one)
        if header is not None and theirs is not None and not _differences(identity, theirs):
            yield rigid_matrices(header)


def moment_of_study(header: Dataset) -> tuple[str, str]:
    """Return date and time of a study as YYYYMMDD and HHMMSS, "" where not told."""
    look = lookup_in(header)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate"):
        day = date_of(look(keyword))
        if day is not None:
            digits = text(look(keyword.replace("Date", "Time"))).replace(":", "").partition(".")[0]
            known = digits.isdecimal() and len(digits) in (2, 4, 6)
            return day.strftime("%Y%m%d"), digits.ljust(6, "0") if known else ""
    return "", ""


def is_before(prior: Prior, moment: tuple[str, str]) -> bool:
    """Return whether an earlier result is of an earlier study, as far as dates can tell."""
    date, time = moment
    if not date or not prior.study_date:
        return False
    if prior.study_date != date:
        return prior.study_date < date
    return bool(time and prior.study_time) and prior.study_time < time
