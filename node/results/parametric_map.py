"""A Parametric Map on the grid of its source images, 32-bit floats (PS3.3 A.75, C.8.32)."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.uid import ParametricMapStorage

from node.dicom.codes import QUANTITY, UNSPECIFIED_CALCULATION, code_item
from node.plugin import Map
from node.results.coding import add_coding_schemes, short
from node.results.planes import (
    POSITION_DIMENSION,
    add_dimensions,
    add_grid,
    plane_groups,
    referenced_series,
    shared_groups,
)
from node.results.request import EncodeRequest
from node.results.source import add_anatomy, add_side, copy_request_attributes, new_object
from node.results.sr_items import code

_IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "QUANTITY"]


def parametric_map(request: EncodeRequest, one: Map, *, role: str) -> Dataset:
    """Return a map as an image of real world values; all slices of its stack."""
    stack, source = request.stacks[one.role], request.headers[one.role][0]
    spec = request.manifest.maps[one.name]
    ds = new_object(request, role=role, modality="OT")
    ds.SOPClassUID = ParametricMapStorage
    copy_request_attributes(source, ds)
    ds.SeriesDescriptionCodeSequence = [code_item(spec.quantity)]
    add_anatomy(ds, source, [f.spec.region for f in request.findings])
    add_side(ds, source)
    add_grid(ds, stack, source)
    ds.ImageType = _IMAGE_TYPE
    ds.ContentLabel = "MAP"
    ds.ContentDescription = short(f"{spec.label} by {request.manifest.title}")
    ds.ContentCreatorName = None
    ds.PixelPresentation, ds.PresentationLUTShape = "MONOCHROME", "IDENTITY"
    ds.RecognizableVisualFeatures = "NO"
    ds.AcquisitionContextSequence = []
    add_dimensions(ds, request, role, (POSITION_DIMENSION,))
    ds.SharedFunctionalGroupsSequence = [_shared(request, one)]
    ds.PerFrameFunctionalGroupsSequence = [
        plane_groups(frame, (number,), UNSPECIFIED_CALCULATION)
        for number, frame in enumerate(stack.frames, start=1)
    ]
    ds.ReferencedSeriesSequence = [referenced_series(stack, range(len(stack.frames)))]
    ds.NumberOfFrames = len(stack.frames)
    ds.BitsAllocated = 32
    ds.FloatPixelData = np.ascontiguousarray(one.array, "<f4").tobytes()
    add_coding_schemes(ds, source, request.manifest)
    return ds


def _shared(request: EncodeRequest, one: Map) -> Dataset:
    groups = shared_groups(request.stacks[one.role])
    kind = Dataset()
    kind.FrameType = _IMAGE_TYPE
    groups.ParametricMapFrameTypeSequence = [kind]
    groups.RealWorldValueMappingSequence = [_mapping(request, one)]
    groups.FrameVOILUTSequence = [_voi(one)]
    identity = Dataset()
    identity.RescaleIntercept, identity.RescaleSlope, identity.RescaleType = "0", "1", "US"
    groups.PixelValueTransformationSequence = [identity]
    return groups


def _mapping(request: EncodeRequest, one: Map) -> Dataset:
    """Say what the numbers are: quantity, unit, and that they stand as they are."""
    spec = request.manifest.maps[one.name]
    item = Dataset()
    item.LUTExplanation = short(spec.label)
    item.LUTLabel = short(one.name, 16)
    item.DoubleFloatRealWorldValueFirstValueMapped = float(one.array.min())
    item.DoubleFloatRealWorldValueLastValueMapped = float(one.array.max())
    item.RealWorldValueIntercept, item.RealWorldValueSlope = 0.0, 1.0
    item.MeasurementUnitsCodeSequence = [code_item(spec.unit)]
    quantity = code("", QUANTITY, spec.quantity)
    item.QuantityDefinitionSequence = [quantity]
    return item


def _voi(one: Map) -> Dataset:
    low, high = float(one.array.min()), float(one.array.max())
    item = Dataset()
    item.WindowCenter = f"{(low + high) / 2:.6g}"
    item.WindowWidth = f"{max(high - low, 1e-6):.6g}"
    item.VOILUTFunction = "LINEAR_EXACT"
    return item
