"""A Comprehensive 3D SR, or a Comprehensive SR, around a content tree (PS3.3 A.35, C.17)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from node.dicom import codes
from node.results.clinical import report_references
from node.results.coding import add_coding_schemes, copy_elements
from node.results.regions import region_references
from node.results.request import EncodeRequest
from node.results.source import new_object, requests, source_header
from node.results.sr_content import report_tree
from node.results.sr_groups import finding_groups, study_groups
from node.results.writing import Writing

#: By what a profile says. Our trees hold no coordinates in mm (SCOORD3D), the one thing that the
#: second class lacks, so the same tree fits both (AIR-6).
SOP_CLASSES: Mapping[str, str] = {
    "comprehensive 3d": str(Comprehensive3DSRStorage),
    "comprehensive": str(ComprehensiveSRStorage),
}
#: study, series, SOP class, SOP instance
Reference = tuple[str, str, str, str]


def reports(
    request: EncodeRequest,
    segs: Mapping[str, Dataset],
    others: Sequence[Dataset],
) -> list[Dataset]:
    """Return the report on all findings, or on their absence (S7).

    A second one only where the profile wants outlines and something has none. OHIF 3.13.2 takes
    titles, not groups: one group without coordinates under (126000, DCM) crashes it, and beside
    outlines it shows no sentence, so nobody would see what is said of an earlier study.

    Parameters
    ----------
    segs : mapping of input role to the SEG on its grid
    others : further objects of this run that belong to the result (AIR-13)
    """
    of_findings = list(finding_groups(request, segs))
    of_study = list(study_groups(request))
    outlined = request.sr_shape == "outline" and bool(of_findings)
    parts = (
        [(codes.IMAGING_MEASUREMENT_REPORT, of_findings)]
        if outlined
        else [(codes.ONCOLOGY_MEASUREMENT_REPORT, of_findings + of_study)]
    )
    if outlined and (of_study or _speaks_of_earlier(request)):
        parts.append((codes.ONCOLOGY_MEASUREMENT_REPORT, of_study))
    references = list(_references(request, (*segs.values(), *others)))
    return [
        _report(
            request,
            report_tree(request, title, groups),
            references,
            role="sr" if number == 0 else f"sr{number + 1}",
        )
        for number, (title, groups) in enumerate(parts)
    ]


def _speaks_of_earlier(request: EncodeRequest) -> bool:
    return request.follow_up.compared is not None or bool(request.follow_up.possible)


def _report(
    request: EncodeRequest,
    tree: Dataset,
    references: Sequence[Reference],
    *,
    role: str,
) -> Dataset:
    source = source_header(request)
    ds = new_report(request, tree, role=role)
    add_orders(ds, source)
    add_evidence(ds, references)
    add_coding_schemes(ds, source, request.manifest)
    return ds


def new_report(request: Writing, tree: Dataset, *, role: str) -> Dataset:
    """Return a report around a content tree, still without orders and evidence."""
    ds = new_object(request, role=role, modality="SR")
    ds.SOPClassUID = SOP_CLASSES[request.sr_class]
    ds.SeriesDescriptionCodeSequence = list(tree.ConceptNameCodeSequence)
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.CompletionFlag = "COMPLETE"
    # S9: only a signed-in person makes it VERIFIED.
    ds.VerificationFlag = "UNVERIFIED"
    copy_elements(tree, ds, [element.keyword for element in tree])
    return ds


def add_orders(ds: Dataset, source: Dataset) -> None:
    """Name the orders that the study answers (S26)."""
    orders = requests(source, study_instance_uid=ds.StudyInstanceUID)
    if orders:
        ds.ReferencedRequestSequence = orders


def add_evidence(ds: Dataset, references: Iterable[Reference]) -> None:
    """List all that the tree refers to, and more, by study and series (PS3.3 C.17.2.3)."""
    evidence = _evidence(references)
    current = [item for item in evidence if item.StudyInstanceUID == ds.StudyInstanceUID]
    other = [item for item in evidence if item.StudyInstanceUID != ds.StudyInstanceUID]
    if current:
        ds.CurrentRequestedProcedureEvidenceSequence = current
    if other:
        ds.PertinentOtherEvidenceSequence = other


def _references(request: EncodeRequest, objects: Iterable[Dataset]) -> Iterator[Reference]:
    """Yield every image that was used, and the objects of this run."""
    for role, stack in request.stacks.items():
        study = str(request.headers[role][0].StudyInstanceUID)
        for frame in stack.frames:
            yield study, stack.series_instance_uid, frame.sop_class_uid, frame.sop_instance_uid
    yield from report_references(request)
    yield from region_references(request.regions)
    yield from map(reference_to, objects)


def reference_to(made: Dataset) -> Reference:
    """Return study, series, class and instance of an object of ours."""
    return (
        str(made.StudyInstanceUID),
        str(made.SeriesInstanceUID),
        str(made.SOPClassUID),
        str(made.SOPInstanceUID),
    )


def _evidence(references: Iterable[Reference]) -> list[Dataset]:
    """Return the references by study and series (PS3.3 C.17.2.3), each instance once."""
    tree: dict[str, dict[str, dict[str, str]]] = {}
    for study, series, sop_class, sop_instance in references:
        tree.setdefault(study, {}).setdefault(series, {})[sop_instance] = sop_class
    studies = []
    for study, all_series in tree.items():
        study_item = Dataset()
        study_item.StudyInstanceUID = study
        study_item.ReferencedSeriesSequence = [
            _series_item(series, instances) for series, instances in all_series.items()
        ]
        studies.append(study_item)
    return studies


def _series_item(series: str, instances: Mapping[str, str]) -> Dataset:
    item = Dataset()
    item.SeriesInstanceUID = series
    item.ReferencedSOPSequence = []
    for sop_instance, sop_class in instances.items():
        reference = Dataset()
        reference.ReferencedSOPClassUID = sop_class
        reference.ReferencedSOPInstanceUID = sop_instance
        item.ReferencedSOPSequence.append(reference)
    return item
