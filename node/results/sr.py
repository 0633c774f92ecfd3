"""A Comprehensive 3D SR around the report's content tree (PS3.3 A.35.13, C.17)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from node.dicom.codes import ONCOLOGY_MEASUREMENT_REPORT, code_item
from node.results.coding import add_coding_schemes, copy_elements
from node.results.request import EncodedObject, EncodeRequest, Finding
from node.results.source import new_object, requests, source_header
from node.results.sr_content import report_tree

#: study, series, SOP class, SOP instance
_Reference = tuple[str, str, str, str]


def report(
    request: EncodeRequest,
    findings: Sequence[Finding],
    segs: Mapping[str, EncodedObject],
    *,
    position: int,
) -> Dataset:
    """Return the report on all findings, or on their absence (S7).

    Parameters
    ----------
    segs : mapping of input role to the SEG on its grid
    """
    source = source_header(request)
    ds = new_object(request, role="sr", modality="SR", position=position)
    ds.SOPClassUID = Comprehensive3DSRStorage
    ds.SeriesDescriptionCodeSequence = [code_item(ONCOLOGY_MEASUREMENT_REPORT)]
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.PreliminaryFlag = "PRELIMINARY"
    ds.CompletionFlag = "COMPLETE"
    # S9: only a signed-in person makes it VERIFIED.
    ds.VerificationFlag = "UNVERIFIED"
    orders = requests(source, study_instance_uid=ds.StudyInstanceUID)
    if orders:
        ds.ReferencedRequestSequence = orders
    tree = report_tree(request, findings, segs)
    copy_elements(tree, ds, [element.keyword for element in tree])
    evidence = _evidence(_references(request, segs.values()))
    current = [item for item in evidence if item.StudyInstanceUID == ds.StudyInstanceUID]
    other = [item for item in evidence if item.StudyInstanceUID != ds.StudyInstanceUID]
    if current:
        ds.CurrentRequestedProcedureEvidenceSequence = current
    if other:
        ds.PertinentOtherEvidenceSequence = other
    add_coding_schemes(ds, source, request.manifest)
    return ds


def _references(request: EncodeRequest, segs: Iterable[EncodedObject]) -> Iterator[_Reference]:
    """Yield every image that was used, and the SEGs: all that the tree refers to, and more."""
    for role, stack in request.stacks.items():
        study = str(request.headers[role][0].StudyInstanceUID)
        for frame in stack.frames:
            yield study, stack.series_instance_uid, frame.sop_class_uid, frame.sop_instance_uid
    for seg in segs:
        yield (
            seg.study_instance_uid,
            seg.series_instance_uid,
            seg.sop_class_uid,
            seg.sop_instance_uid,
        )


def _evidence(references: Iterable[_Reference]) -> list[Dataset]:
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
