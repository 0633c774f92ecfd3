"""Which earlier results of the node are priors of a run, and what they say to it (S10).

Asked once a run, before anything is encoded, so that all editions of its evidence say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from node.dicom.headers import identity_of
from node.dicom.registration import link_between
from node.dicom.values import lookup_in, text
from node.model import Identity
from node.parts import Node
from node.prior_checks import doubt_about, is_before, moment_of_study, registrations_of
from node.results.follow_up import Earlier, FollowUp, Key, PossiblePrior, Tracked
from node.results.matching import Place, Point, match, place_of
from node.results.request import EncodeRequest, Finding, measurements_of
from node.storage.prior_rows import NewPrior, Prior, PriorFinding, PriorValue, priors_of

#: Earlier studies that a report speaks of.
_MOST_STUDIES = 3

_SAME_FRAME = "the Frame of Reference is the same, findings are matched by place one to one"
_REGISTERED = "a Spatial Registration of the study links both, findings are matched by place"

Array = NDArray[np.float64]
#: Centroid and corners of the box of each finding of a run, mm in LPS+.
Places = Mapping[Key, tuple[Point, Point, Point]]


@dataclass(frozen=True, kw_only=True)
class _Asking:
    """A run that asks for its priors."""

    node: Node
    request: EncodeRequest
    identity: Identity
    places: Places
    #: Matrices to a registered frame of reference, one mapping a Spatial Registration object.
    registrations: tuple[Mapping[str, Array], ...]

    def link(self, earlier: str, today: str) -> Array | None:
        """Return what maps one frame of reference's mm to the other's, as `matching.Links`.

        Two registrations of the same frames contradict each other, or say nothing new: none of
        them counts.
        """
        if not earlier or not today:
            return None
        if earlier == today:
            return np.eye(4)
        found = [link_between(one, earlier, today) for one in self.registrations]
        linked = [one for one in found if one is not None]
        return linked[0] if len(linked) == 1 else None


def places_of(request: EncodeRequest) -> Places:
    """Return where the findings of a run lie."""
    affines = {role: np.array(one.geometry.affine) for role, one in request.stacks.items()}
    return {
        one.key: place_of(
            one.segment.mask, affines[one.segment.role], first=one.first, last=one.last
        )
        for one in request.findings
    }


def follow_up_of(request: EncodeRequest, places: Places, node: Node) -> FollowUp:
    """Return what earlier results of the same patient and plugin say to a run.

    Tracking UIDs are kept by place only, one to one, never on a guess: everything else is at
    most a possible prior.

    Parameters
    ----------
    request : EncodeRequest
        Of any edition of the run.
    """
    identity = identity_of(request.source)
    job = request.job
    if not identity.patient_id:
        return FollowUp()
    standing = priors_of(
        node.db,
        patient_id=identity.patient_id,
        issuer_of_patient_id=identity.issuer_of_patient_id,
        plugin=job.plugin,
        but=job.id,
    )
    newest: dict[str, Prior] = {}
    for one in standing:
        newest.setdefault(one.job.study_instance_uid, one)
    asking = _Asking(
        node=node,
        request=request,
        identity=identity,
        places=places,
        registrations=tuple(registrations_of(node, job.study_instance_uid, identity)),
    )
    own = newest.pop(job.study_instance_uid, None)
    when = moment_of_study(request.source)
    before = [one for one in newest.values() if is_before(one, when)]
    found = _with_earlier_studies(asking, before)
    found = _with_own_study(asking, own, found)
    return _with_other_inputs(asking, found)


def prior_of(request: EncodeRequest, places: Places) -> NewPrior:
    """Return what a run leaves for later ones."""
    identity = identity_of(request.source)
    date, time = moment_of_study(request.source)
    return NewPrior(
        patient_id=identity.patient_id,
        issuer_of_patient_id=identity.issuer_of_patient_id,
        study_date=date,
        study_time=time,
        series_description=" ".join(text(lookup_in(request.source)("SeriesDescription")).split()),
        findings=tuple(_prior_finding(request, one, places) for one in request.findings),
    )


# --- earlier studies -------------------------------------------------------------------------


def _with_earlier_studies(asking: _Asking, priors: Sequence[Prior]) -> FollowUp:
    """Compare with the newest earlier study that is linked; tell of those before it."""
    possible: list[PossiblePrior] = []
    audit: list[Mapping[str, object]] = []
    for prior in priors:
        doubt = doubt_about(prior, asking.identity, asking.node)
        if doubt:
            audit.append(_note(prior, f"left out: {doubt}"))
            continue
        tracked, link, why = _compare(asking, prior)
        kept = {one.uid for one in tracked.values()}
        left = tuple(one for one in prior.findings if one.tracking_uid not in kept)
        if left or not tracked:
            possible.append(PossiblePrior(earlier=_earlier(prior), findings=left, why=why))
        if tracked:
            audit.append(_note(prior, f"compared: {link}", tracked))
            return FollowUp(
                tracked=tracked,
                link=link,
                possible=tuple(possible),
                taken=frozenset(one.label for one in left),
                audit=tuple(audit),
            )
        audit.append(_note(prior, f"possible prior: {why}"))
        if len(possible) == _MOST_STUDIES:
            break
    return FollowUp(possible=tuple(possible), audit=tuple(audit))


def _compare(asking: _Asking, prior: Prior) -> tuple[dict[Key, Tracked], str, str]:
    """Return (findings that are the same, what links both, why nothing more is the same)."""
    today, earlier = asking.request.job.plugin_version, prior.job.plugin_version
    if _major(today) != _major(earlier):
        return {}, "", "another major version of the plugin"
    frames = {one.geometry.frame_of_reference_uid for one in asking.request.stacks.values()}
    there = {one.frame_of_reference_uid for one in prior.findings}
    linked = [(a, b) for a in there for b in frames if asking.link(a, b) is not None]
    if prior.findings and not linked:
        return {}, "", "no registration links both studies"
    link = _SAME_FRAME if any(a == b for a, b in linked) else _REGISTERED
    pairs = _matched(asking, asking.request.findings, prior.findings)
    about = _earlier(prior)
    tracked = {
        key: Tracked(uid=one.tracking_uid, label=one.label, earlier=about, values=one.values)
        for key, one in pairs.items()
    }
    return tracked, link, "no finding of today is beyond doubt the same"


def _matched(
    asking: _Asking, today: Sequence[Finding], earlier: Sequence[PriorFinding]
) -> dict[Key, PriorFinding]:
    """Return the earlier finding of each of today's that has one, of equal segment and input."""
    here = [_place(asking, one, f"{one.segment.name}/{one.segment.role}") for one in today]
    there = [
        Place(
            kind=f"{one.segment}/{one.role}",
            frame_of_reference_uid=one.frame_of_reference_uid,
            centroid_mm=one.centroid_mm,
            low_mm=one.low_mm,
            high_mm=one.high_mm,
        )
        for one in earlier
    ]
    return {today[a].key: earlier[b] for a, b in match(here, there, asking.link).items()}


# --- the same study --------------------------------------------------------------------------


def _with_own_study(asking: _Asking, own: Prior | None, found: FollowUp) -> FollowUp:
    """Let findings that another result of this study has keep its Tracking UIDs."""
    if own is None:
        return found
    doubt = doubt_about(own, asking.identity, asking.node)
    if doubt or _major(own.job.plugin_version) != _major(asking.request.job.plugin_version):
        why = doubt or "another major version of the plugin"
        return _extended(found, {}, _note(own, f"left out: {why}"))
    used = {one.uid for one in found.tracked.values()}
    tracked = {
        key: Tracked(uid=one.tracking_uid, label=one.label)
        for key, one in _matched(asking, asking.request.findings, own.findings).items()
        if key not in found.tracked and one.tracking_uid not in used
    }
    return _extended(found, tracked, _note(own, "same study", tracked))


def _with_other_inputs(asking: _Asking, found: FollowUp) -> FollowUp:
    """Let a finding that was found on several inputs of the run have one Tracking UID."""
    roles = list(asking.request.stacks)
    for number, role in enumerate(roles[1:], start=1):
        first = [one for one in _alone(asking, found) if one.segment.role in roles[:number]]
        later = [one for one in asking.request.findings if one.segment.role == role]
        here, there = ([_place(asking, f, f.segment.name) for f in part] for part in (later, first))
        used = {found.tracked[one.key].uid for one in later if one.key in found.tracked}
        tracked = {}
        for a, b in match(here, there, asking.link).items():
            kept = found.tracked.get(first[b].key)
            uid = first[b].tracking_uid if kept is None else kept.uid
            if later[a].key not in found.tracked and uid not in used:
                tracked[later[a].key] = Tracked(uid=uid, same_as=first[b].key)
        found = _extended(found, tracked, None)
    return found


def _alone(asking: _Asking, found: FollowUp) -> Iterator[Finding]:
    """Yield the findings that are not known to be another one of the run."""
    for one in asking.request.findings:
        tracked = found.tracked.get(one.key)
        if tracked is None or tracked.same_as is None:
            yield one


def _extended(
    found: FollowUp, tracked: Mapping[Key, Tracked], note: Mapping[str, object] | None
) -> FollowUp:
    return replace(
        found,
        tracked={**found.tracked, **tracked},
        audit=(*found.audit, *([] if note is None else [note])),
    )


# --- small things ----------------------------------------------------------------------------


def _place(asking: _Asking, finding: Finding, kind: str) -> Place:
    centroid, low, high = asking.places[finding.key]
    stack = asking.request.stacks[finding.segment.role]
    return Place(
        kind=kind,
        frame_of_reference_uid=stack.geometry.frame_of_reference_uid,
        centroid_mm=centroid,
        low_mm=low,
        high_mm=high,
    )


def _prior_finding(request: EncodeRequest, finding: Finding, places: Places) -> PriorFinding:
    centroid, low, high = places[finding.key]
    stack = request.stacks[finding.segment.role]
    return PriorFinding(
        segment=finding.segment.name,
        finding=finding.segment.finding,
        role=finding.segment.role,
        label=finding.label,
        tracking_uid=finding.tracking_uid,
        frame_of_reference_uid=stack.geometry.frame_of_reference_uid,
        centroid_mm=centroid,
        low_mm=low,
        high_mm=high,
        values=tuple(_values(request, finding)),
    )


def _values(request: EncodeRequest, finding: Finding) -> Iterator[PriorValue]:
    for one in measurements_of(request).get(finding.key, []):
        spec = request.manifest.measurements[one.name]
        value = round(one.value, spec.digits)
        yield PriorValue(
            name=one.name, code=spec.code, unit=spec.unit, value=value, digits=spec.digits
        )


def _earlier(prior: Prior) -> Earlier:
    return Earlier(
        study_instance_uid=prior.job.study_instance_uid,
        study_date=prior.study_date,
        series_description=prior.series_description,
        plugin_version=prior.job.plugin_version,
    )


def _note(
    prior: Prior, use: str, tracked: Mapping[Key, Tracked] | None = None
) -> dict[str, object]:
    """Return what the job's report keeps of one earlier result."""
    return {
        "job": prior.job.id,
        "study_instance_uid": prior.job.study_instance_uid,
        "plugin": prior.job.plugin_name_version,
        "use": use,
        "tracking_uids": sorted({one.uid for one in (tracked or {}).values()}),
    }


def _major(version: str) -> str:
    """Return the first number of a version.

    Examples
    --------
    >>> _major("1.2.0"), _major("10")
    ('1', '10')
    """
    return version.partition(".")[0]
