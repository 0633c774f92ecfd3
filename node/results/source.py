"""What the evidence says of patient, study, order and equipment; copied, never invented."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from pydicom import Dataset

import node
from node.dicom.codes import ACQUISITION_EQUIPMENT, PROCESSING_EQUIPMENT, code_item
from node.errors import RefusalCode, Refused
from node.manifest import Code
from node.model import NOT_RUN, REJECTION, WITHDRAWN
from node.results.coding import copy_elements, plain_copy, set_empty, short
from node.results.writing import Writing

#: Patient and study attributes that are copied where the source has them (PS3.3 C.7.1.1,
#: C.7.2.1, C.7.2.2, C.7.1.3, C.7.2.3); the check compares each of them with the source.
PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDsSequence",
    "OtherPatientNames",
    "EthnicGroup",
    "PatientSpeciesDescription",
    "PatientSpeciesCodeSequence",
    "PatientBreedDescription",
    "PatientBreedCodeSequence",
    "BreedRegistrationSequence",
    "ResponsiblePerson",
    "ResponsiblePersonRole",
    "ResponsibleOrganization",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "QualityControlSubject",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "PhysiciansOfRecord",
    "RequestingService",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "IssuerOfServiceEpisodeIDSequence",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
    "LongitudinalTemporalInformationModified",
    "TimezoneOffsetFromUTC",
)
#: Type 2 in the Patient and General Study modules: present in the evidence, empty if need be.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_REQUEST_ITEM = (
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "PlacerOrderNumberImagingServiceRequest",
    "OrderPlacerIdentifierSequence",
    "FillerOrderNumberImagingServiceRequest",
    "OrderFillerIdentifierSequence",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
    "ReasonForTheRequestedProcedure",
    "ReasonForRequestedProcedureCodeSequence",
)
#: Type 2 in an item of Referenced Request Sequence (PS3.3 C.17.2).
_REQUEST_TYPE_2 = (
    "ReferencedStudySequence",
    "AccessionNumber",
    "PlacerOrderNumberImagingServiceRequest",
    "FillerOrderNumberImagingServiceRequest",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "RequestedProcedureCodeSequence",
)
#: What is said of the scanner (PS3.3 C.12.1, Contributing Equipment Sequence).
ACQUISITION = (
    "Manufacturer",
    "InstitutionName",
    "StationName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
#: First of our series numbers (S27), and how many each plugin may use.
_FIRST_SERIES_NUMBER = 9000
_SERIES_OF_A_PLUGIN = 10
#: Notes about a run (did not run, withdrawn, rejection) are beside what it made.
_PLACES = {
    **{NOT_RUN: 0, WITHDRAWN: 0, REJECTION: 0},
    **{"seg": 1, "sr": 4, "pm": 6, "sc": 8, "kos": 9},
}
_ONE_NUMBER = ("sc", NOT_RUN, WITHDRAWN, REJECTION)
#: The last words of a series description where the modality says too little: a map and a picture
#: are both OT, and a second report is about the study, not about its findings.
_LAST_WORDS = {"pm": "PM", "sc": "SC", "sr2": "SR whole study"}

PRODUCT_NAME = "Sentinel Node"

#: Image Laterality (0020,0062) as PS3.3 enumerates it.
_SIDES = frozenset({"R", "L", "U", "B"})


def source_header(request: Writing) -> Dataset:
    """Return the header that patient and study values come from: the findings' series (S3)."""
    return request.source


def new_object(request: Writing, *, role: str, modality: str) -> Dataset:
    """Return a data set with everything but the IOD's own content.

    Raises
    ------
    Refused
        SOURCE_ATTRIBUTE_UNUSABLE if the source has no Study Instance UID.
    """
    source = source_header(request)
    if not source.get("StudyInstanceUID"):
        raise Refused(RefusalCode.SOURCE_ATTRIBUTE_UNUSABLE, "the source has no Study Instance UID")
    ds = Dataset()
    copy_elements(source, ds, (*PATIENT, *STUDY))
    set_empty(ds, _TYPE_2)
    _add_series(ds, request, role=role, modality=modality)
    _add_equipment(ds, request)
    ds.ContributingEquipmentSequence = list(_contributors(request, source))
    _add_times(ds, request.time)
    ds.ContentQualification = request.content_qualification
    ds.SOPInstanceUID = request.uid("sop", role)
    ds.InstanceNumber = 1
    return ds


def _add_series(ds: Dataset, request: Writing, *, role: str, modality: str) -> None:
    slot = int(request.job.plugin_digest[:8] or "0", 16) % 90 * _SERIES_OF_A_PLUGIN
    prefix = "" if request.released else "RESEARCH "
    last = f" {_last_words(role, modality)}"
    ds.Modality = modality
    ds.SeriesInstanceUID = request.uid("series", role)
    ds.SeriesNumber = _FIRST_SERIES_NUMBER + slot + _place(role)
    # A long title is cut, not what tells the series of a run apart.
    ds.SeriesDescription = short(f"{prefix}{request.manifest.title}", 64 - len(last)) + last


def _place(role: str) -> int:
    """Return the place of an object's series among those of a plugin.

    Examples
    --------
    >>> [_place(role) for role in ("seg", "seg2", "sr", "pm", "sc7", "kos", "withdrawn2")]
    [1, 2, 4, 6, 8, 9, 0]
    """
    kind = role.rstrip("0123456789")
    if kind in _ONE_NUMBER:
        return _PLACES[kind]
    return _PLACES[kind] + int(role.removeprefix(kind) or 1) - 1


def _last_words(role: str, modality: str) -> str:
    """Return what tells an object's series from the others of its run.

    Examples
    --------
    >>> _last_words("seg", "SEG"), _last_words("seg2", "SEG"), _last_words("sc7", "OT")
    ('SEG', 'SEG 2', 'SC')
    """
    kind = role.rstrip("0123456789")
    word = _LAST_WORDS.get(kind, modality)
    number = "" if kind in _ONE_NUMBER else role.removeprefix(kind)
    return _LAST_WORDS.get(role) or f"{word} {number}".rstrip()


def _add_equipment(ds: Dataset, request: Writing) -> None:
    """Enhanced General Equipment, all of it type 1 (PS3.3 C.7.5.2), and where it stands."""
    ds.Manufacturer = PRODUCT_NAME
    ds.ManufacturerModelName = PRODUCT_NAME
    ds.DeviceSerialNumber = short(request.device_serial_number)
    ds.SoftwareVersions = short(node.__version__)
    if request.institution:
        ds.InstitutionName = short(request.institution)
    if request.station_name:
        ds.StationName = short(request.station_name, 16)


def _contributors(request: Writing, source: Dataset) -> Iterator[Dataset]:
    """One item for the scanner, one for the plugin (AIR-7, S26)."""
    if source.get("Manufacturer"):
        scanner = Dataset()
        copy_elements(source, scanner, ACQUISITION)
        scanner.PurposeOfReferenceCodeSequence = [code_item(ACQUISITION_EQUIPMENT)]
        yield scanner
    manifest = request.manifest
    plugin = Dataset()
    plugin.PurposeOfReferenceCodeSequence = [code_item(PROCESSING_EQUIPMENT)]
    plugin.Manufacturer = short(manifest.manufacturer)
    plugin.ManufacturerModelName = short(manifest.title)
    plugin.SoftwareVersions = [short(manifest.version), short(manifest.digest or "no digest")]
    plugin.DeviceSerialNumber = short(request.device_serial_number)
    plugin.DeviceUID = request.device_uid
    plugin.ContributionDateTime = _date_time(request.time)
    plugin.ContributionDescription = (
        f"{manifest.name_version}, SHA-256 of the package {manifest.digest}"
    )
    yield plugin


def _add_times(ds: Dataset, moment: datetime) -> None:
    """Write the job's time wherever the object asks when it was made (S1)."""
    for what in ("InstanceCreation", "Series", "Content"):
        setattr(ds, f"{what}Date", moment.strftime("%Y%m%d"))
        setattr(ds, f"{what}Time", moment.strftime("%H%M%S.%f"))


def _date_time(moment: datetime) -> str:
    return moment.strftime("%Y%m%d%H%M%S.%f%z")


def requests(source: Dataset, *, study_instance_uid: str) -> list[Dataset]:
    """Return the items of an SR's Referenced Request Sequence (S26; PS3.3 C.17.2).

    One for each request that the source's series names, else one for its accession number.
    """
    items = []
    for request in source.get("RequestAttributesSequence") or ():
        items.append(_request_item(request, source, study_instance_uid))
    if not items and source.get("AccessionNumber"):
        items.append(_request_item(Dataset(), source, study_instance_uid))
    return items


def _request_item(request: Dataset, source: Dataset, study_instance_uid: str) -> Dataset:
    item = Dataset()
    if not request.get("AccessionNumber"):
        copy_elements(source, item, ("AccessionNumber", "IssuerOfAccessionNumberSequence"))
    for level in (source, request):
        copy_elements(level, item, [k for k in _REQUEST_ITEM[2:] if level.get(k)])
    if request.get("AccessionNumber"):
        copy_elements(request, item, ("AccessionNumber", "IssuerOfAccessionNumberSequence"))
    item.StudyInstanceUID = request.get("StudyInstanceUID") or study_instance_uid
    set_empty(item, _REQUEST_TYPE_2)
    return item


def add_anatomy(ds: Dataset, source: Dataset, regions: Iterable[Code | None]) -> None:
    """Write what archives are asked for by anatomy (AIR-9): structures, and the side if known."""
    structures = dict.fromkeys(region for region in regions if region is not None)
    if structures:
        ds.PrimaryAnatomicStructureSequence = [code_item(region) for region in structures]
    side = _side(source)
    if side:
        ds.ImageLaterality = side


def add_side(ds: Dataset, source: Dataset) -> None:
    """Write that the side is unknown, where it is: Laterality is type 2C in a plain image."""
    if not _side(source):
        ds.Laterality = ""


def _side(source: Dataset) -> str:
    side = str(source.get("ImageLaterality") or source.get("Laterality") or "")
    return side if side in _SIDES else ""


def copy_request_attributes(source: Dataset, target: Dataset) -> None:
    """Copy what an image series says of its order (PS3.3 10.6), where it says it."""
    found = [plain_copy(item) for item in source.get("RequestAttributesSequence") or ()]
    if found:
        target.RequestAttributesSequence = found
