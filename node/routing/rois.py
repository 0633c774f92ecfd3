"""Which regions serve the ROI roles of a plugin: by code, by mapped name, never by guess (S21).

`docs/regions.md` has the rules in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase

from pydicom.sr.coding import Code as StandardCode

from node.dicom.headers import identity_of
from node.dicom.regions import Region, RegionRules, refusal_of
from node.errors import RefusalCode, Refused
from node.manifest import Code, Manifest, RoiRole
from node.roi_choice import EarlierRegion, JobRoi
from node.routing.edits import edited_by_name, latest_object, newest_edits
from node.routing.selection import Chosen
from node.settings import RoiSettings

#: No contours at all: a diameter beside a tumour is not the tumour.
_NO_CONTOURS = frozenset({RefusalCode.ROI_NOT_AN_AREA})
_MOST_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class FoundRegion:
    """A region of the study, with what the rows say of its object."""

    region: Region
    content_sha256: str
    #: Two versions of the object are here that differ (S2).
    in_conflict: bool = False
    series_number: str = ""
    #: It names images or series that are known, and lie in other studies alone.
    on_other_study: bool = False
    #: A rejection note takes its object back.
    rejected: bool = False
    #: Our job that made it; "": somebody else did.
    from_job: str = ""

    @property
    def place(self) -> str:
        """Return which part of which object it is, without names (S28)."""
        part = {"SEG": "segment", "RTSTRUCT": "ROI", "SR": "measurement group"}
        kind = self.region.source_kind
        if self.from_job:
            return f"segment {self.region.number} that job {self.from_job} found"
        made = self.region.created_at[:12]
        number = self.series_number or "without number"
        when = f" of {made[:8]} {made[8:10]}:{made[10:12]}" if len(made) == 12 else ""
        return f"{part[kind]} {self.region.number} of the {kind}{when} in series {number}"


@dataclass(frozen=True, kw_only=True)
class RoiCandidate:
    """A region that fits a role by what it says it is, and what became of it."""

    role: str
    place: str
    #: What its author called it.
    name: str
    by: str
    chosen: bool = False
    code: str = ""
    sentence: str = ""


@dataclass(frozen=True, kw_only=True)
class RoiMissing:
    """A role that nothing serves yet."""

    role: RoiRole
    sentence: str
    #: Whether the result of a plugin that is under way may serve it.
    pending: bool = False


@dataclass(frozen=True, kw_only=True)
class RoiChoice:
    """The regions for every role, or which roles still lack one."""

    rois: tuple[JobRoi, ...] = ()
    candidates: tuple[RoiCandidate, ...] = ()
    missing: tuple[RoiMissing, ...] = ()
    #: Why no job is possible with these regions; None: it is, or it waits.
    refusal: Refused | None = None

    @property
    def missing_sentence(self) -> str:
        """Return what is missing, in words."""
        return "; ".join(one.sentence for one in self.missing)

    @property
    def waits_for_result(self) -> bool:
        """Return whether nothing but results of other plugins is missing."""
        return bool(self.missing) and all(one.pending for one in self.missing)

    def plus(self, other: RoiChoice) -> RoiChoice:
        """Return this choice and that of another role."""
        return RoiChoice(
            rois=(*self.rois, *other.rois),
            candidates=(*self.candidates, *other.candidates),
            missing=(*self.missing, *other.missing),
            refusal=self.refusal or other.refusal,
        )


def choose_rois(
    manifest: Manifest,
    settings: Mapping[str, RoiSettings],
    found: Sequence[FoundRegion],
    inputs: Mapping[str, Chosen],
    results: ResultsOf,
) -> RoiChoice:
    """Choose the regions for every ROI role of a plugin.

    Parameters
    ----------
    manifest : Manifest
    settings : mapping of role name to RoiSettings
        What the rule says.
    found : sequence of FoundRegion
        Those of the study that are not ours, in order of arrival.
    inputs : mapping of input role to Chosen
        The images that were chosen.
    results : callable
        What the plugin of that name found in the study.
    """
    choice = RoiChoice()
    for role in manifest.rois.values():
        said, image = settings.get(role.name, RoiSettings()), inputs[role.input]
        elsewhere = _elsewhere(image, inputs)
        made = _Desk(role, said, found, image, elsewhere).choose()
        if made.missing:
            made = made.plus(_without(role, said, image, made.missing[0], results))
            made = replace(made, missing=made.missing[1:])
        choice = choice.plus(made)
    return choice


def _elsewhere(image: Chosen, inputs: Mapping[str, Chosen]) -> frozenset[tuple[str, ...]]:
    """Return the series of the other inputs, each as an object refers to it alone."""
    own = image.series.series_instance_uid
    return frozenset((one.series.series_instance_uid,) for one in inputs.values()) - {(own,)}


def _without(
    role: RoiRole,
    settings: RoiSettings,
    image: Chosen,
    missing: RoiMissing,
    results: ResultsOf,
) -> RoiChoice:
    """Return what serves a role that nobody drew a region for, as the manifest says."""
    if role.when_missing == "wait":
        return RoiChoice(missing=(missing,))
    if role.when_missing == "refuse":
        return RoiChoice(refusal=Refused(RefusalCode.ROI_MISSING, missing.sentence))
    result = results(role.from_plugin)
    if result.pending:
        sentence = f"{role.name}: waits for the result of {role.from_plugin}"
        return RoiChoice(missing=(RoiMissing(role=role, sentence=sentence, pending=True),))
    made = _Desk(role, settings, result.found, image, frozenset()).choose()
    if made.missing:
        why = result.sentence or f"{role.from_plugin} found no such region"
        sentence = f"{missing.sentence}; {why}"
        return replace(made, missing=(), refusal=Refused(RefusalCode.ROI_MISSING, sentence))
    return made


def candidate_documents(choice: RoiChoice) -> list[dict[str, object]]:
    """Return the candidates as JSON for the decision's row."""
    return [asdict(one) for one in choice.candidates]


@dataclass(frozen=True, kw_only=True)
class PluginResult:
    """What another plugin found in the study."""

    found: tuple[FoundRegion, ...] = ()
    #: Its job is not done yet.
    pending: bool = False
    #: Why there is no result.
    sentence: str = ""


ResultsOf = Callable[[str], PluginResult]


class _Desk:
    """The candidates for one role."""

    def __init__(
        self,
        role: RoiRole,
        settings: RoiSettings,
        found: Sequence[FoundRegion],
        image: Chosen,
        elsewhere: frozenset[tuple[str, ...]],
    ):
        self._role = role
        self._settings = settings
        self._found = found
        self._image = image
        #: Series of other inputs, each as an object refers to it alone.
        self._elsewhere = elsewhere
        self._rules = RegionRules(fraction=role.fraction, unapproved=settings.unapproved)

    def choose(self) -> RoiChoice:
        fitting = {id(one): (one, why) for one in self._found if (why := self._fits(one))}
        kept = _not_twice([one for one, _ in fitting.values()])
        current = newest_edits(kept)
        faults = {id(one): self._fault(one) for one in current}
        usable = [one for one in current if faults[id(one)] is None]
        usable = self._not_elsewhere(usable)
        if self._settings.latest:
            usable = latest_object(usable)
        refusal = self._refusal(current, usable, faults)
        chosen = [] if refusal else usable
        candidates = tuple(
            self._candidate(one, why, kept, current, faults.get(id(one)), one in chosen)
            for one, why in fitting.values()
        )
        if refusal is not None or chosen:
            rois = tuple(self._job_roi(one, kept, current) for one in chosen)
            return RoiChoice(rois=rois, candidates=candidates, refusal=refusal)
        missing = RoiMissing(role=self._role, sentence=self._nothing(len(fitting)))
        return RoiChoice(candidates=candidates, missing=(missing,))

    def _not_elsewhere(self, usable: list[FoundRegion]) -> list[FoundRegion]:
        """Leave out what was drawn on the images of another role; all stay if all was.

        Where each MR sequence has an outline of its own, the other one's is no rival.
        """
        here = [one for one in usable if one.region.referenced_series not in self._elsewhere]
        return here or usable

    def _fits(self, one: FoundRegion) -> str:
        """Return how a region says that it is this role's, "" if it does not."""
        role, region = self._role, one.region
        if region.source_kind not in role.sources and not one.from_job:
            return ""
        if region.type is not None and _is_one_of(region.type, role.codes):
            if region.site is None or not role.sites or _is_one_of(region.site, role.sites):
                return "code"
            return ""
        names = {region.name.casefold(), region.tracking_id.casefold()} - {""}
        patterns = [label.casefold() for label in self._settings.labels]
        return "name" if any(fnmatchcase(n, p) for n in names for p in patterns) else ""

    def _fault(self, one: FoundRegion) -> tuple[RefusalCode, str] | None:
        """Return why a region may not be used, as far as headers tell; None if it may."""
        region, geometry = one.region, self._image.stack.geometry
        if one.in_conflict:
            return RefusalCode.UID_CONFLICT, "two versions of its object are here; choose one"
        if one.rejected:
            return RefusalCode.ROI_REJECTED, "a rejection note (KOS) takes its object back"
        refusal = refusal_of(region, self._rules)
        if refusal is not None:
            return refusal
        owner = identity_of(self._image.header)
        if region.patient_id != owner.patient_id:
            return RefusalCode.ROI_OTHER_PATIENT, "it belongs to another patient"
        if one.on_other_study:
            return RefusalCode.ROI_OTHER_STUDY, "it was drawn on images of another study"
        frame = region.frame_of_reference_uid
        if frame and frame != geometry.frame_of_reference_uid:
            return RefusalCode.ROI_FRAME_OF_REFERENCE, "it lies in another frame of reference"
        return None

    def _refusal(
        self,
        current: Sequence[FoundRegion],
        usable: Sequence[FoundRegion],
        faults: Mapping[int, tuple[RefusalCode, str] | None],
    ) -> Refused | None:
        if usable and (self._role.many or len(usable) == 1):
            return None
        name = self._role.name
        if usable:
            several = f"{len(usable)} regions could be meant by {name}: {_list(usable)}; leave one"
            # Of two in one object, or of one moment, neither is the later one.
            helps = len(latest_object(usable)) == 1
            hint = f", or say rois.{name}.latest = true in the rule" if helps else ""
            return Refused(RefusalCode.ROI_SEVERAL, several + hint)
        unfit = [(one, fault) for one in current if (fault := faults[id(one)])]
        serious = [(one, fault) for one, fault in unfit if fault[0] not in _NO_CONTOURS]
        if not serious:
            return None
        one, (code, sentence) = serious[0]
        more = f"; and {len(serious) - 1} more" if len(serious) > 1 else ""
        return Refused(code, f"{name}: {one.place}: {sentence}{more}")

    def _candidate(
        self,
        one: FoundRegion,
        by: str,
        kept: Sequence[FoundRegion],
        current: Sequence[FoundRegion],
        fault: tuple[RefusalCode, str] | None,
        chosen: bool,
    ) -> RoiCandidate:
        bare = RoiCandidate(
            role=self._role.name, place=one.place, name=one.region.name, by=by, chosen=chosen
        )
        if fault is not None:
            return replace(bare, code=fault[0].value, sentence=fault[1])
        if chosen:
            return bare
        if one not in kept:
            return replace(bare, sentence="a report on a segment that is listed itself")
        if one not in current:
            return replace(bare, sentence="edited since")
        return replace(bare, sentence="another one could be meant, or is used")

    def _nothing(self, fitting: int) -> str:
        role = self._role
        # A meaning may hold a comma: "Neoplasm, Primary".
        what = " or ".join(f'"{code.meaning}"' for code in role.codes) or "no code"
        names = ", ".join(self._settings.labels)
        named = f", or named {names}" if names else ""
        lines = f" ({fitting} enclose no area)" if fitting else ""
        count = len(self._found)
        others = "1 other region is here" if count == 1 else f"{count} other regions are here"
        kinds = ", ".join(role.sources) or f"a result of {role.from_plugin}"
        return f"no region for {role.name}{lines}: {kinds} with {what}{named}; {others}"

    def _job_roi(
        self, one: FoundRegion, kept: Sequence[FoundRegion], current: Sequence[FoundRegion]
    ) -> JobRoi:
        region = one.region
        pointed = region.segment_of
        # Where the rule takes the latest, nothing is in doubt.
        standing = [old for old in kept if not self._is_taken_back(old)]
        earlier = [] if self._settings.latest else edited_by_name(one, standing, current)
        return JobRoi(
            role=self._role.name,
            source_kind=region.source_kind,
            sop_class_uid=region.sop_class_uid,
            sop_instance_uid=region.sop_instance_uid,
            series_instance_uid=region.series_instance_uid,
            number=region.number,
            content_sha256=one.content_sha256,
            points_at_sha256="" if pointed is None else self._content_of(pointed[0]),
            from_job=one.from_job,
            edit_of=tuple(_earlier(one) for one in earlier),
        )

    def _is_taken_back(self, one: FoundRegion) -> bool:
        fault = self._fault(one)
        return fault is not None and fault[0] is RefusalCode.ROI_REJECTED

    def _content_of(self, sop_instance_uid: str) -> str:
        found = (o for o in self._found if o.region.sop_instance_uid == sop_instance_uid)
        return next((one.content_sha256 for one in found), "")


def _earlier(one: FoundRegion) -> EarlierRegion:
    return EarlierRegion(
        sop_instance_uid=one.region.sop_instance_uid,
        number=one.region.number,
        content_sha256=one.content_sha256,
    )


def _is_one_of(code: Code, codes: Iterable[Code]) -> bool:
    """Return whether two codes mean the same; SNOMED-RT codes of older objects count (SRT)."""
    standard = StandardCode(code.value, code.scheme, "")
    return any(standard == StandardCode(one.value, one.scheme, "") for one in codes)


def _not_twice(fitting: Sequence[FoundRegion]) -> list[FoundRegion]:
    """Leave out reports on a segment that fits itself, and second reports on one segment."""
    segments = {
        (one.region.sop_instance_uid, one.region.number)
        for one in fitting
        if one.region.source_kind == "SEG"
    }
    kept: list[FoundRegion] = []
    for one in fitting:
        pointed = one.region.segment_of
        if pointed is not None:
            same = {(pointed[0], number) for number in pointed[1]}
            if same & segments:
                continue
            # A report that was taken back hides none of those that serve.
            segments |= frozenset() if one.rejected else same
        kept.append(one)
    return kept


def _list(found: Sequence[FoundRegion]) -> str:
    named = "; ".join(one.place for one in found[:_MOST_NAMED])
    return named + (f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else "")
