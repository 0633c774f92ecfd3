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

# --- equipment (CID 7005)
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
ACQUISITION_EQUIPMENT = Code("109101", "DCM", "Acquisition Equipment")

# --- SR (TID 1500, CID 7021)
ONCOLOGY_MEASUREMENT_REPORT = Code("126001", "DCM", "Oncology Measurement Report")
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")
IMAGING_MEASUREMENTS = Code("126010", "DCM", "Imaging Measurements")
IMAGE_LIBRARY = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = Code("126200", "DCM", "Image Library Group")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT = Code("121106", "DCM", "Comment")
FINDINGS_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
#: (CID 6047) The algorithm ran to its end: both say so, and which of the two it was (S7).
WITHOUT_FINDINGS = Code("111241", "DCM", "All algorithms succeeded; without findings")
WITH_FINDINGS = Code("111242", "DCM", "All algorithms succeeded; with findings")
MODALITY = Code("121139", "DCM", "Modality")
FRAME_OF_REFERENCE_UID = Code("112227", "DCM", "Frame of Reference UID")
PIXEL_ROWS = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_COLUMNS = Code("110911", "DCM", "Pixel Data Columns")
HORIZONTAL_PIXEL_SPACING = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING = Code("111066", "DCM", "Vertical Pixel Spacing")
SPACING_BETWEEN_SLICES = Code("112226", "DCM", "Spacing between slices")
SLICE_THICKNESS = Code("112225", "DCM", "Slice Thickness")

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
