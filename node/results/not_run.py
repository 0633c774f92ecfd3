"""A small report that says why there is no result: AI did not run (S7)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import Dataset

from node.dicom import codes
from node.results.coding import short
from node.results.notes import NoteRequest, finished, sentences
from node.results.request import EncodedObject
from node.results.sr import add_orders, new_report, reference_to
from node.results.sr_content import procedure_of
from node.results.sr_items import code, container, item, language, observer, template

#: An image library names so many images; they stand for their series.
MOST_IMAGES = 50


def not_run_report(
    request: NoteRequest, images: Sequence[Dataset], *, code: str, sentence: str
) -> EncodedObject:
    """Return the report.

    In the shape of a report without findings, which viewers open; its code says that no
    algorithm succeeded, so that nobody counts it as "nothing found".

    Parameters
    ----------
    images : data sets
        Headers of one image of each series that was looked at, at least one.
    code, sentence
        Of the refusal, without patient data.
    """
    shown = images[:MOST_IMAGES]
    ds = new_report(request, _tree(request, shown, code, sentence), role=request.role)
    ds.SeriesDescription = short(f"{_prefix(request)}AI did not run: {request.manifest.title}")
    add_orders(ds, request.source)
    return finished(request, ds, [reference_to(image) for image in shown])


def _prefix(request: NoteRequest) -> str:
    return "" if request.released else "RESEARCH "


def _tree(request: NoteRequest, images: Sequence[Dataset], reason: str, sentence: str) -> Dataset:
    author = request.manifest
    root = container(codes.ONCOLOGY_MEASUREMENT_REPORT, relationship="")
    root.ContentTemplateSequence = [template("1500")]
    said = (
        f"AI did not run: {sentence}",
        f"{author.title} {author.version} ({author.name_version}), code {reason}.",
        "The images were not analysed; this says nothing about findings.",
    )
    root.ContentSequence = [
        *language(),
        *observer(request),
        code("HAS CONCEPT MOD", codes.PROCEDURE_REPORTED, procedure_of(request.source)),
        _library(images),
        sentences(request, said, outcome=codes.DID_NOT_RUN),
    ]
    return root


def _library(images: Sequence[Dataset]) -> Dataset:
    """List the images that stand for the series that were looked at (TID 1600)."""
    library = container(codes.IMAGE_LIBRARY)
    group = container(codes.IMAGE_LIBRARY_GROUP)
    group.ContentSequence = []
    for image in images:
        # Without a name OHIF 3.13.2 crashes on every report as text.
        entry = item("CONTAINS", "IMAGE", codes.SOURCE_IMAGE)
        reference = Dataset()
        reference.ReferencedSOPClassUID = image.SOPClassUID
        reference.ReferencedSOPInstanceUID = image.SOPInstanceUID
        entry.ReferencedSOPSequence = [reference]
        group.ContentSequence.append(entry)
    library.ContentSequence = [group]
    return library
