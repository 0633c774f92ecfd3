"""Coded concepts that our objects use, and a code as a data set item (PS3.16; PAPERS.md 6)."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom import Dataset

from node.manifest import Code

#: Designator of our private codes; they are listed here and nowhere else.
PRIVATE_SCHEME = "99SENTINEL"

# --- SEG (CID 7203, 7202)
SEGMENTATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")

# --- Parametric Map (PS3.3 C.7.6.16.2.11)
QUANTITY = Code("246205007", "SCT", "Quantity")
UNSPECIFIED_CALCULATION = Code("112187", "DCM", "Unspecified method of calculation")

# --- Key Object Selection (TID 2010, CID 7010)
OF_INTEREST = Code("113000", "DCM", "Of Interest")
#: Titles of a rejection note (IHE IOCM), by what a profile says of its archive (S8).
REJECTED: Mapping[str, Code] = {
    "quality": Code("113001", "DCM", "Rejected for Quality Reasons"),
    "safety": Code("113037", "DCM", "Rejected for Patient Safety Reasons"),
}
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")

# --- Secondary Capture
PICTURE = Code("PICTURE", "99SENTINEL", "Picture of findings")

# --- equipment (CID 7005)
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")

# --- SR (TID 1500, CID 7021)
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
ONCOLOGY_MEASUREMENT_REPORT = Code("126001", "DCM", "Oncology Measurement Report")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
#: Title of a report that takes a result back: who asks for reports by title must not get it as one.
WITHDRAWN_REPORT = Code("WITHDRAWN", "99SENTINEL", "Withdrawn result")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT = Code("121106", "DCM", "Comment")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
FINDINGS_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
#: (CID 6047) The algorithm ran to its end: both say so, and which of the two it was (S7).
WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
#: (CID 6047) It did not run, which says nothing of findings.
DID_NOT_RUN = Code("111245", "DCM", "No algorithms succeeded; without findings")
#: (CID 225) How far below and above the value the true one may lie.
RANGE_BELOW = Code("371885007", "SCT", "-, range of lower measurement uncertainty")
RANGE_ABOVE = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
#: What a plugin was told beside the images, and who said so.
PATIENT_CHARACTERISTICS = Code("121118", "DCM", "Patient Characteristics")
SOURCE_OF_MEASUREMENT = Code("121112", "DCM", "Source of Measurement")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
PERSON = Code("121006", "DCM", "Person")
PERSON_OBSERVER_NAME = Code("121008", "DCM", "Person Observer Name")
YES = Code("373066001", "SCT", "Yes")
NO = Code("373067005", "SCT", "No")
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
PIXEL_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
HORIZONTAL_PIXEL_SPACING = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = Code("111066", "DCM", "Vertical Pixel Spacing")
SPACING_BETWEEN_SLICES = Code("112226", "DCM", "Spacing between slices")
SLICE_THICKNESS = Code("112225", "DCM", "Slice Thickness")

#: What is compared with an earlier study (S10), and by how much it changed since. PS3.16 has no
#: concept of a change, so these two are ours.
DERIVED_MEASUREMENTS = Code("126011", "DCM", "Derived Imaging Measurements")
TRACKING_IDENTIFIER = Code("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
STUDY_DATE = Code("111060", "DCM", "Study Date")
STUDY_INSTANCE_UID = Code("110180", "DCM", "Study Instance UID")
CHANGE = Code("CHANGE", PRIVATE_SCHEME, "Change since the earlier study")
CHANGE_PERCENT = Code("CHANGE-PERCENT", PRIVATE_SCHEME, "Change since the earlier study in percent")
PERCENT = Code("%", "UCUM", "Percent")

MILLIMETRE = Code("mm", "UCUM", "millimeter")
PIXELS = Code("{pixels}", "UCUM", "Pixels")

#: Modality (0008,0060) as a concept (CID 29).
MODALITIES: Mapping[str, Code] = {
    "CT": Code("CT", "DCM", "Computed Tomography"),
    "MR": Code("MR", "DCM", "Magnetic Resonance"),
    "PT": Code("PT", "DCM", "Positron emission tomography"),
    "NM": Code("NM", "DCM", "Nuclear Medicine"),
    "US": Code("US", "DCM", "Ultrasound"),
    "XA": Code("XA", "DCM", "X-Ray Angiography"),
    "MG": Code("MG", "DCM", "Mammography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
}

#: Imaging procedure (CID 100) where the study names none.
PROCEDURES: Mapping[str, Code] = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
}
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")

#: What the outputs of our plugins are coded with (PAPERS.md 6), by a short name: the one place
#: where a code is looked up. A test holds each against PS3.16's dictionaries.
OUTPUTS: Mapping[str, Code] = {
    # Report frame.
    "time point: before operation": Code("262068006", "SCT", "Preoperative"),
    "risk: high": Code("15508007", "SCT", "High risk"),
    "risk: moderate": Code("25594002", "SCT", "Moderate risk"),
    "risk: low": Code("75976002", "SCT", "Low risk"),
    "present": Code("52101004", "SCT", "Present"),
    "absent": Code("272519000", "SCT", "Absent"),
    "derivation: mean": Code("373098007", "SCT", "Mean"),
    "derivation: maximum": Code("56851009", "SCT", "Maximum"),
    "side: left": Code("7771000", "SCT", "Left"),
    "side: right": Code("24028007", "SCT", "Right"),
    # Probabilities: %; those without a code of the standard are private, below.
    "probability": Code("122157", "DCM", "Probability"),
    "probability of cancer": Code("111047", "DCM", "Probability of cancer"),
    "certainty of finding": Code("111012", "DCM", "Certainty of Finding"),
    "lesion sensitivity": Code("111089", "DCM", "Lesion Sensitivity"),
    "case sensitivity": Code("111088", "DCM", "Case Sensitivity"),
    "false markers per case": Code("111087", "DCM", "False Markers per Case"),
    "node: metastatic": Code("111330", "DCM", "Metastatic disease to axillary node"),
    "node: normal": Code("111251", "DCM", "Normal axillary node"),
    "event: recurrence": Code("25173007", "SCT", "Recurrence of tumor"),
    "event: metastasis": Code("128462008", "SCT", "Metastasis"),
    "event: vascular invasion": Code("111303", "DCM", "Blood vessel (vascular) invasion"),
    # Maps.
    "map: Grad-CAM": Code("130403", "DCM", "Gradient-weighted class activation"),
    "map: class activation": Code("130402", "DCM", "Class activation"),
    "map: saliency": Code("130404", "DCM", "Saliency"),
    # Measurements.
    "volume": Code("118565006", "SCT", "Volume"),
    "long axis": Code("103339001", "SCT", "Long axis"),
    "short axis": Code("103340004", "SCT", "Short axis"),
    "diameter": Code("81827009", "SCT", "Diameter"),
    "diameter in 3D": Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh"),
    "area": Code("42798000", "SCT", "Area"),
    "attenuation": Code("112031", "DCM", "Attenuation Coefficient"),
    "sphericity": Code("QCFX", "IBSI", "Sphericity"),
    # Segments: category, type, region.
    "category: lesion": Code("49755003", "SCT", "Morphologically Abnormal Structure"),
    "category: tissue": Code("85756007", "SCT", "Tissue"),
    "category: organ": Code("91723000", "SCT", "Anatomical Structure"),
    "primary neoplasm": Code("372087000", "SCT", "Neoplasm, Primary"),
    "neoplasm": Code("108369006", "SCT", "Neoplasm"),
    "mass": Code("4147007", "SCT", "Mass"),
    "neuroendocrine tumour": Code("255046005", "SCT", "Neuroendocrine tumor"),
    "lymph node": Code("59441001", "SCT", "Lymph Node"),
    "axillary lymph node": Code("68171009", "SCT", "Axillary lymph node"),
    "axilla": Code("91470000", "SCT", "Axilla"),
    # The tissue; (256674009, SCT) "Fat" is a substance.
    "fat": Code("55603005", "SCT", "Fat"),
    "omentum": Code("27398004", "SCT", "Omentum"),
    "pancreas": Code("15776009", "SCT", "Pancreas"),
    "liver": Code("10200004", "SCT", "Liver"),
    "stomach": Code("69695003", "SCT", "Stomach"),
    "nasopharynx": Code("360955006", "SCT", "Nasopharynx"),
    "mediastinum": Code("72410000", "SCT", "Mediastinum"),
    "thymus": Code("9875009", "SCT", "Thymus"),
}

#: Our private codes: what PS3.16 has no concept for.
PRIVATE_OUTPUTS: Mapping[str, Code] = {
    "probability of lymph node metastasis": Code(
        "AIP-LNM", PRIVATE_SCHEME, "Predicted probability of lymph node metastasis"
    ),
    "probability of microvascular invasion": Code(
        "AIP-MVI", PRIVATE_SCHEME, "Predicted probability of microvascular invasion"
    ),
    "probability of recurrence": Code(
        "AIP-REC", PRIVATE_SCHEME, "Predicted probability of tumour recurrence"
    ),
    "predicted node status": Code("AIP-NODE", PRIVATE_SCHEME, "Predicted state of lymph node"),
    "predicted risk group": Code("AIP-RISK", PRIVATE_SCHEME, "Predicted risk group"),
    "radiomics score": Code("RAD-SCORE", PRIVATE_SCHEME, "Radiomics score"),
    "deep learning score": Code("RDP", PRIVATE_SCHEME, "Radiomics and deep learning predictor"),
    "uncertainty": Code("UNCERTAINTY", PRIVATE_SCHEME, "Uncertainty of the prediction"),
    "lesser omentum": Code("LESSER-OMENTUM", PRIVATE_SCHEME, "Lesser omentum"),
    "display check": Code("DISPLAY-CHECK", PRIVATE_SCHEME, "Display check"),
}

#: Designators that PS3.16 section 8 lists: no Coding Scheme Identification is needed.
STANDARD_SCHEMES = frozenset(
    {"DCM", "SCT", "SRT", "SNM3", "UCUM", "LN", "UMLS", "NCIt", "IBSI", "RADLEX", "FMA", "I10"}
    | {"I10P", "I9C", "C4", "C5", "ICD11", "ISO3166_1", "RFC5646", "RXNORM", "MDC", "BARI", "NEU"}
    | {"ITIS_TSN", "PUBCHEM_CID", "MSH", "NDC", "BI", "ACR", "CD8", "HPC", "UNS", "RFC3066"}
)

_MAX_CODE_VALUE = 16
_MAX_MEANING = 64


def code_item(code: Code) -> Dataset:
    """Return `code` as an item of a code sequence (PS3.3 table 8.8-1).

    Examples
    --------
    >>> code_item(Code("118565006", "SCT", "Volume")).CodeValue
    '118565006'
    >>> code_item(Code("12345678901234567", "99X", "long")).LongCodeValue
    '12345678901234567'
    """
    item = Dataset()
    if len(code.value) > _MAX_CODE_VALUE:
        item.LongCodeValue = code.value
    else:
        item.CodeValue = code.value
    item.CodingSchemeDesignator = code.scheme
    item.CodeMeaning = code.meaning
    return item


def code_of_item(item: Dataset) -> Code | None:
    """Return the code that an item holds, or None where it holds none that may be copied."""
    value = item.get("CodeValue") or item.get("LongCodeValue")
    scheme, meaning = item.get("CodingSchemeDesignator"), item.get("CodeMeaning")
    if not (value and scheme and meaning):
        return None
    if len(str(scheme)) > _MAX_CODE_VALUE or len(str(meaning)) > _MAX_MEANING:
        return None
    return Code(str(value), str(scheme), str(meaning))
