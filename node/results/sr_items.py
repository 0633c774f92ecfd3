"""Content items, small pieces of an SR tree (PS3.3 C.17.3)."""

from __future__ import annotations

from typing import Any

import highdicom as hd
from pydicom import Dataset

from node.dicom.codes import code_item
from node.manifest import Code
from node.results.coding import decimal
from node.results.source import PRODUCT_NAME
from node.results.writing import Writing


def item(relationship: str, value_type: str, name: Code | None) -> Dataset:
    """Return a content item without its value."""
    ds = Dataset()
    if relationship:
        ds.RelationshipType = relationship
    ds.ValueType = value_type
    if name is not None:
        ds.ConceptNameCodeSequence = [code_item(name)]
    return ds


def container(name: Code, *, relationship: str = "CONTAINS") -> Dataset:
    """Return an empty container."""
    ds = item(relationship, "CONTAINER", name)
    ds.ContinuityOfContent = "SEPARATE"
    return ds


def code(relationship: str, name: Code, value: Code) -> Dataset:
    """Return a CODE item."""
    ds = item(relationship, "CODE", name)
    ds.ConceptCodeSequence = [code_item(value)]
    return ds


def text(relationship: str, name: Code, value: str) -> Dataset:
    """Return a TEXT item."""
    ds = item(relationship, "TEXT", name)
    ds.TextValue = value
    return ds


def date(relationship: str, name: Code, value: str) -> Dataset:
    """Return a DATE item; the value as YYYYMMDD."""
    ds = item(relationship, "DATE", name)
    ds.Date = value
    return ds


def uid(relationship: str, name: Code, value: str) -> Dataset:
    """Return a UIDREF item."""
    ds = item(relationship, "UIDREF", name)
    ds.UID = value
    return ds


def number(relationship: str, name: Code, value: float, unit: Code) -> Dataset:
    """Return a NUM item."""
    measured = Dataset()
    measured.NumericValue = decimal(value)
    measured.MeasurementUnitsCodeSequence = [code_item(unit)]
    ds = item(relationship, "NUM", name)
    ds.MeasuredValueSequence = [measured]
    return ds


def template(identifier: str) -> Dataset:
    """Return an item of Content Template Sequence."""
    ds = Dataset()
    ds.MappingResource = "DCMR"
    ds.TemplateIdentifier = identifier
    return ds


def concept(value: Code) -> Any:
    """Return a code as highdicom has it."""
    return hd.sr.CodedConcept(value.value, value.scheme, value.meaning)


def observer(request: Writing) -> Any:
    """Name the device that observed: the plugin in this node (TID 1001, 1004)."""
    return hd.sr.ObserverContext(
        observer_type=hd.sr.CodedConcept("121007", "DCM", "Device"),
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=request.device_uid,
            name=request.manifest.title,
            manufacturer_name=request.manifest.manufacturer,
            model_name=f"{PRODUCT_NAME}: {request.manifest.name_version}",
            serial_number=request.device_serial_number,
        ),
    )


def language() -> Any:
    """Say that the texts are English (TID 1204)."""
    english = hd.sr.CodedConcept("en", "RFC5646", "English")
    return hd.sr.LanguageOfContentItemAndDescendants(english)
