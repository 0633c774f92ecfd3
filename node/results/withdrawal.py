"""What takes a result back: a rejection note where the archive knows it, else a report (S8).

Both are made from the run's own report, so that a plugin that is gone can be withdrawn too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

import node
from node.dicom import codes
from node.dicom.codes import code_item
from node.dicom.uids import derived_uid
from node.model import Evidence, Job
from node.results.coding import copy_elements, plain_copy, short
from node.results.notes import NoteRequest, StoredAuthor, finished, sentences
from node.results.request import EncodedObject
from node.results.source import PRODUCT_NAME, new_object
from node.results.sr import Reference, new_report
from node.results.sr_items import container, item, language, template, text

_IMAGE_KINDS = ("seg", "pm", "sc")
_PROCESSING = codes.PROCESSING_EQUIPMENT.value
_LIBRARY, _PROCEDURE = codes.IMAGE_LIBRARY.value, codes.PROCEDURE_REPORTED.value


@dataclass(frozen=True, kw_only=True)
class Retraction:
    """Which objects are taken back, why, and what to look at instead."""

    evidence: tuple[Evidence, ...]
    reason: str
    #: "the newer result in series 9034", or "" where there is none.
    see: str = ""


def author_of(report: Dataset, job: Job) -> StoredAuthor:
    """Return the plugin that a report of ours names as its maker."""
    makers = [
        one
        for one in report.get("ContributingEquipmentSequence") or ()
        if one.PurposeOfReferenceCodeSequence[0].CodeValue == _PROCESSING
    ]
    maker = makers[0] if makers else Dataset()
    return StoredAuthor(
        name=job.plugin,
        version=job.plugin_version,
        digest=job.plugin_digest,
        title=str(maker.get("ManufacturerModelName") or job.plugin),
        manufacturer=str(maker.get("Manufacturer") or PRODUCT_NAME),
    )


def rejection(request: NoteRequest, what: Retraction, *, title: str) -> EncodedObject:
    """Return a Key Object Selection that rejects the objects (IHE IOCM; TID 2010).

    Parameters
    ----------
    request : NoteRequest
        Whose `source` is the report of the run.
    title : ``quality`` or ``safety``
    """
    ds = new_object(request, role=request.role, modality="KO")
    del ds.ContentQualification  # not in this IOD; the text says it (S4)
    named = codes.REJECTED[title]
    ds.SOPClassUID = KeyObjectSelectionDocumentStorage
    ds.SeriesDescriptionCodeSequence = [code_item(named)]
    ds.ReferencedPerformedProcedureStepSequence = []
    _as_the_report(ds, request)
    root = container(named, relationship="")
    root.ContentTemplateSequence = [template("2010")]
    root.ContentSequence = [
        *language(),
        *_observer(request),
        text("CONTAINS", codes.KEY_OBJECT_DESCRIPTION, " ".join(_words(request, what))),
        *(_object(one) for one in what.evidence),
    ]
    copy_elements(root, ds, [element.keyword for element in root])
    return finished(request, ds, [_reference(one) for one in what.evidence])


def withdrawn_report(request: NoteRequest, what: Retraction) -> EncodedObject:
    """Return a report "WITHDRAWN, see …", for archives that know no rejection note."""
    source = request.source
    root = container(codes.WITHDRAWN_REPORT, relationship="")
    root.ContentTemplateSequence = [template("1500")]
    kept = {str(one.ConceptNameCodeSequence[0].CodeValue): one for one in source.ContentSequence}
    library = plain_copy(kept[_LIBRARY])
    for group in library.ContentSequence:
        for image in group.ContentSequence:
            if "ConceptNameCodeSequence" not in image:  # it crashes OHIF 3.13.2
                image.ConceptNameCodeSequence = [code_item(codes.SOURCE_IMAGE)]
    root.ContentSequence = [
        *language(),
        *_observer(request),
        plain_copy(kept[_PROCEDURE]),
        library,
        sentences(request, _words(request, what)),
    ]
    ds = new_report(request, root, role=request.role)
    _as_the_report(ds, request)
    return finished(
        request, ds, [*_images_of(source, library), *(_reference(one) for one in what.evidence)]
    )


def _as_the_report(ds: Dataset, request: NoteRequest) -> None:
    """Name the equipment and the orders that the report of the run names."""
    source = request.source
    copy_elements(source, ds, ("ContributingEquipmentSequence", "ReferencedRequestSequence"))
    prefix = "" if request.released else "RESEARCH "
    ds.SeriesDescription = short(f"{prefix}WITHDRAWN: {request.manifest.title}")


def _words(request: NoteRequest, what: Retraction) -> tuple[str, ...]:
    author = request.manifest
    kinds = ", ".join(dict.fromkeys(one.kind.upper() for one in what.evidence))
    see = what.see or ("the reason below" if what.reason else "")
    withdrawn = (
        f"WITHDRAWN{f', see {see}' if see else ''}. Do not use this result of "
        f"{author.title} {author.version} ({author.name_version}): {kinds}."
    )
    return (withdrawn, f"Reason: {what.reason}.") if what.reason else (withdrawn,)


def _observer(request: NoteRequest) -> Any:
    """Name the node: it, and not the plugin, takes back (TID 1001, 1004)."""
    return hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=derived_uid("sentinel-node", request.device_serial_number, request.station_name),
            name=request.station_name or PRODUCT_NAME,
            manufacturer_name=PRODUCT_NAME,
            model_name=f"{PRODUCT_NAME} {node.__version__}",
            serial_number=request.device_serial_number,
        ),
    )


def _object(one: Evidence) -> Dataset:
    entry = item("CONTAINS", "IMAGE" if one.kind in _IMAGE_KINDS else "COMPOSITE", None)
    reference = Dataset()
    reference.ReferencedSOPClassUID = one.sop_class_uid
    reference.ReferencedSOPInstanceUID = one.sop_instance_uid
    entry.ReferencedSOPSequence = [reference]
    return entry


def _reference(one: Evidence) -> Reference:
    return (
        one.study_instance_uid,
        one.series_instance_uid,
        one.sop_class_uid,
        one.sop_instance_uid,
    )


def _images_of(report: Dataset, library: Dataset) -> Sequence[Reference]:
    """Return where the report's evidence has the images of its library."""
    wanted = {
        str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for group in library.ContentSequence
        for image in group.ContentSequence
        if image.ValueType == "IMAGE"
    }
    found: list[Reference] = []
    for keyword in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in report.get(keyword) or ():
            for series in study.ReferencedSeriesSequence:
                found += [
                    (
                        str(study.StudyInstanceUID),
                        str(series.SeriesInstanceUID),
                        str(one.ReferencedSOPClassUID),
                        str(one.ReferencedSOPInstanceUID),
                    )
                    for one in series.ReferencedSOPSequence
                    if one.ReferencedSOPInstanceUID in wanted
                ]
    return found
