"""Which series serves an input: requirements one by one, ranking, and no guess."""

import pytest
from pydicom import Dataset

from node.errors import RefusalCode
from node.manifest import InputRole, Range
from node.routing.ranking import CRITERIA
from node.routing.selection import Selection, select
from tests.make import SAGITTAL, ct_series, mr_series, with_identity_of
from tests.routing_site import manifest
from tests.unit.reading import series

SHAPE = (6, 8, 8)


def ct(number: int = 1, **overrides: object) -> list[Dataset]:
    shape = overrides.pop("shape", SHAPE)
    return ct_series(shape, SeriesNumber=number, **overrides)  # type: ignore[arg-type]


def choose(*all_series: list[Dataset], **role: object) -> Selection:
    plugin = manifest(inputs={"ct": InputRole(name="ct", **{"modality": ("CT",), **role})})
    return select(plugin, [series(one) for one in all_series])


def chosen(selection: Selection) -> list[tuple[int | None, str]]:
    return [(one.series_number, one.stack) for one in selection.candidates if one.chosen]


FITS = {
    "plain": ({}, {}),
    "any plane": ({"orientation": SAGITTAL}, {"plane": "any"}),
    "its plane": ({"orientation": SAGITTAL}, {"plane": "sagittal"}),
    "count": ({}, {"slices": Range(6, 6)}),
    "spacing": ({}, {"slice_spacing_mm": Range(5.0, 5.0)}),
    "pixel": ({}, {"pixel_spacing_mm": Range(0.7, 0.8)}),
    "thickness": ({}, {"slice_thickness_mm": Range(0, 5)}),
    "derived but allowed": (
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"allow": ("MPR",)},
    ),
    "image type": ({}, {"image_type_has": ("axial",)}),
    "no fat image": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "WATER"]},
        {"image_type_absent": ("fat", "f")},
    ),
    "kernel glob": ({"ConvolutionKernel": "B30f"}, {"kernel": ("b3*",)}),
    "kernel of two values": ({"ConvolutionKernel": ["Br40d", "3"]}, {"kernel": ("Br40d",)}),
    "contrast": ({"ContrastBolusAgent": "Iomeprol"}, {"contrast": "required"}),
    "no contrast": ({"ContrastBolusAgent": ""}, {"contrast": "absent"}),
    "agent none": ({"ContrastBolusAgent": "NONE"}, {"contrast": "absent"}),
    "agent denied": ({"ContrastBolusAgent": "PRE CONTRAST"}, {"contrast": "absent"}),
    "number": ({"EchoTime": "95"}, {"header": {"EchoTime": Range(60, 300)}}),
    "number that is 0": ({"InversionTime": "0"}, {"header_absent": ("InversionTime",)}),
    "number that is not there": ({"InversionTime": None}, {"header_absent": ("InversionTime",)}),
    "word inside another": ({"SeriesDescription": "Leber epi"}, {"words_absent": ("EP",)}),
    "lossy allowed": ({"LossyImageCompression": "01"}, {"lossy": True}),
}


@pytest.mark.parametrize(("header", "role"), FITS.values(), ids=FITS)
def test_a_series_that_meets_the_requirement_is_chosen(header: dict, role: dict):
    selection = choose(ct(3, **header), **role)

    assert selection.refusal is None
    assert chosen(selection) == [(3, "")]
    assert selection.notes == ("ct: series 3 is the only one that fits",)


MISSES = {
    "modality": ({}, {"modality": ("MR",), "values": "raw"}, "NO_SUITABLE_SERIES", "is not MR"),
    "localizer": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {},
        "IMAGE_KIND_UNSUITABLE",
        "localizer",
    ),
    "derived": (
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {},
        "IMAGE_KIND_UNSUITABLE",
        "allows no derived images",
    ),
    "not HU": ({"RescaleType": "US"}, {}, "VALUES_NOT_HU", "Rescale Type is US"),
    "plane": ({"orientation": SAGITTAL}, {"plane": "axial"}, "NO_SUITABLE_SERIES", "sagittal"),
    "few": ({}, {"slices": Range(7)}, "TOO_FEW_SLICES", "6 slices, at least 7"),
    "many": ({}, {"slices": Range(2, 5)}, "NO_SUITABLE_SERIES", "6 slices, at most 5"),
    "spacing": (
        {},
        {"slice_spacing_mm": Range(0, 3)},
        "NO_SUITABLE_SERIES",
        "slice spacing 5 mm is not 0 to 3 mm",
    ),
    "thickness": (
        {},
        {"slice_thickness_mm": Range(high=3)},
        "NO_SUITABLE_SERIES",
        "slice thickness 5 mm is not at most 3 mm",
    ),
    "no thickness": (
        {"SliceThickness": None},
        {"slice_thickness_mm": Range(0, 9)},
        "NO_SUITABLE_SERIES",
        "Slice Thickness is absent",
    ),
    "pixel spacing of columns": (
        {},
        {"pixel_spacing_mm": Range(0.75)},
        "NO_SUITABLE_SERIES",
        "pixel spacing 0.7 mm is not at least 0.75 mm",
    ),
    "image type": (
        {},
        {"image_type_has": ("HELIX",)},
        "NO_SUITABLE_SERIES",
        "does not say HELIX",
    ),
    "fat image": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "DIXON", "FAT"]},
        {"image_type_absent": ("F", "fat")},
        "NO_SUITABLE_SERIES",
        "Image Type says FAT",
    ),
    "kernel": (
        {"ConvolutionKernel": "B60f"},
        {"kernel": ("B3*",)},
        "NO_SUITABLE_SERIES",
        "kernel B60F is none of B3*",
    ),
    "no contrast": ({}, {"contrast": "required"}, "NO_SUITABLE_SERIES", "not named"),
    "contrast denied": (
        {"ContrastBolusAgent": "none given"},
        {"contrast": "required"},
        "NO_SUITABLE_SERIES",
        "Contrast/Bolus Agent denies that one was given: required",
    ),
    "contrast of no amount": (
        {"ContrastBolusAgent": "Iomeprol", "ContrastBolusVolume": "0"},
        {"contrast": "required"},
        "NO_SUITABLE_SERIES",
        "a contrast agent is named, and the amount given is 0: required",
    ),
    "contrast named and denied": (
        {"ContrastBolusAgent": "no Iomeprol"},
        {"contrast": "absent"},
        "NO_SUITABLE_SERIES",
        "names a contrast agent and denies that one was given: absent",
    ),
    "contrast": (
        {"ContrastBolusAgent": "X"},
        {"contrast": "absent"},
        "NO_SUITABLE_SERIES",
        "agent is named",
    ),
    "another number": (
        {"EchoTime": "11"},
        {"header": {"EchoTime": Range(60, 300)}},
        "NO_SUITABLE_SERIES",
        "EchoTime 11 is not 60 to 300",
    ),
    "no number": (
        {},
        {"header": {"EchoTime": Range(60)}},
        "NO_SUITABLE_SERIES",
        "EchoTime is absent, at least 60 is asked for",
    ),
    "number that must be absent": (
        {"InversionTime": "2500"},
        {"header_absent": ("InversionTime",)},
        "NO_SUITABLE_SERIES",
        "InversionTime 2500 is said; it must be absent or 0",
    ),
    "word that must be absent": (
        {"SeriesDescription": "t2_Dark-Fluid"},
        {"words_absent": ("FLAIR", "DARK FLUID")},
        "NO_SUITABLE_SERIES",
        "Series Description says DARK FLUID",
    ),
    "word of one image": (
        {"per_instance": {3: {"ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION"]}}},
        {"words_absent": ("DIFFUSION",)},
        "NO_SUITABLE_SERIES",
        "Image Type says DIFFUSION",
    ),
    "lossy": ({"LossyImageCompression": "01"}, {}, "LOSSY_COMPRESSED", "6 of 6 images"),
    "gap": (
        {"per_instance": {5: {"ImagePositionPatient": [-10, -20, 5.0]}}},
        {},
        "SLICE_MISSING",
        "10",
    ),
}


@pytest.mark.parametrize(("header", "role", "code", "sentence"), MISSES.values(), ids=MISSES)
def test_s17_what_does_not_fit_is_excluded_with_code_and_values(
    header: dict, role: dict, code: str, sentence: str
):
    selection = choose(ct(3, **header), **role)

    assert selection.inputs == {}
    assert selection.refusal is not None
    assert selection.refusal.code == code
    assert "series 3" in selection.refusal.sentence
    assert sentence in selection.refusal.sentence
    assert sentence in selection.candidates[0].sentence


def test_the_refusal_of_one_candidate_speaks_of_one():
    refusal = choose(ct(2, RescaleType="US")).refusal

    assert refusal is not None
    assert refusal.sentence.startswith("the only candidate does not serve the input ct: series 2: ")


def test_the_refusal_names_the_candidate_that_came_nearest_first():
    scout = ct(1, shape=(2, 8, 8), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    gap = ct(2, per_instance={5: {"ImagePositionPatient": [-10, -20, 5.0]}})

    refusal = choose(scout, gap).refusal

    assert refusal is not None
    assert refusal.code is RefusalCode.SLICE_MISSING
    assert refusal.sentence.startswith("none of 2 candidates serves the input ct: series 2: ")
    assert "; series 1: " in refusal.sentence and "LOCALIZER" in refusal.sentence


def test_no_matching_series_is_said():
    refusal = choose().refusal

    assert refusal is not None
    assert refusal.sentence == "no image series matches for the input ct"


RANKS = {
    "original": (
        "original",
        {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]},
    ),
    "most slices": ("most_slices", {}, {"shape": (7, 8, 8)}),
    "thin": ("thin_slices", {"spacing": (5.0, 0.8, 0.7)}, {"spacing": (1.5, 0.8, 0.7)}),
    "coverage": ("large_coverage", {}, {"spacing": (6.0, 0.8, 0.7)}),
    "soft kernel": (
        "soft_kernel",
        {"ConvolutionKernel": "B60f"},
        {"ConvolutionKernel": "B30f"},
    ),
    "contrast": (
        "names_contrast",
        {"SeriesDescription": "T1 tra"},
        {"SeriesDescription": "T1 tra +C"},
    ),
    "recent": ("recent", {"AcquisitionTime": "101500"}, {"AcquisitionTime": "1016"}),
}


@pytest.mark.parametrize(("criterion", "worse", "better"), RANKS.values(), ids=RANKS)
def test_ranking_criterion(criterion: str, worse: dict, better: dict):
    first = ct(1, AcquisitionDate="20260131", **worse)
    second = ct(2, AcquisitionDate="20260131", **better)

    selection = choose(first, second, rank=(criterion,), allow=("MPR",))

    assert chosen(selection) == [(2, "")]
    assert selection.notes == (f"ct: series 2 of 2 that fit, by {criterion}",)
    best, other = selection.candidates
    assert best.scores[criterion] > other.scores[criterion]


OPTIONAL = ("SeriesDescription", "ConvolutionKernel", "AcquisitionDate", "AcquisitionTime")


@pytest.mark.parametrize("said", ["", " ", "+", "; / -"])
def test_a_series_whose_header_says_nothing_of_use_is_ranked_by_every_criterion(said: str):
    silent = ct(1)
    for ds in silent:
        for keyword in OPTIONAL:
            ds.pop(keyword, None)
        if said:
            ds.SeriesDescription = ds.ConvolutionKernel = said

    selection = choose(silent, rank=tuple(CRITERIA))

    assert selection.refusal is None and chosen(selection) == [(1, "")]
    assert selection.candidates[0].scores["names_contrast"] == 0


def test_every_criterion_of_the_manifest_is_tested():
    assert {criterion for criterion, _, _ in RANKS.values()} == set(CRITERIA)


KERNELS = {"B30f": 1, "Br40d": 1, "STANDARD": 1, "FC08": 1, "B70f": -1, "BONE": -1, "LUNG": -1}
KERNELS |= {"FC52": -1, "YA": -1, "NOBODY": 0, "": 0}


@pytest.mark.parametrize(("kernel", "score"), KERNELS.items())
def test_soft_and_sharp_kernels(kernel: str, score: int):
    selection = choose(ct(1, ConvolutionKernel=kernel), rank=("soft_kernel",))

    assert selection.candidates[0].scores == {"soft_kernel": score}


def test_the_first_criterion_decides():
    thin_but_derived = ct(1, spacing=(1.0, 0.8, 0.7), ImageType=["DERIVED", "SECONDARY", "MPR"])
    thick = ct(2)

    selection = choose(thin_but_derived, thick, rank=("original", "thin_slices"), allow=("MPR",))

    assert chosen(selection) == [(2, "")]


def test_equal_series_are_decided_by_series_number_and_it_is_said():
    selection = choose(ct(9), ct(4), ct(12))

    assert chosen(selection) == [(4, "")]
    assert "3 equal ones, by the lowest Series Number" in selection.notes[0]


def phases(number: int = 1, **second: object) -> list[Dataset]:
    """Two stacks at the same places in one series."""
    first = ct(number, AcquisitionNumber=1)
    other = with_identity_of(first[0], ct(number, AcquisitionNumber=2, **second))
    for ds in other:
        ds.SeriesInstanceUID = first[0].SeriesInstanceUID
    return first + other


def test_s18_equal_phases_of_one_series_are_never_guessed_between():
    refusal = choose(phases(5)).refusal

    assert refusal is not None
    assert refusal.code is RefusalCode.PHASES_MIXED
    assert "series 5 holds 2 stacks" in refusal.sentence
    assert "AcquisitionNumber=1; AcquisitionNumber=2" in refusal.sentence


def test_s18_a_phase_that_the_role_distinguishes_is_chosen():
    mixed = phases(5, ContrastBolusAgent="Iomeprol")

    selection = choose(mixed, contrast="required")

    assert chosen(selection) == [(5, "AcquisitionNumber=2")]


def test_a_better_series_makes_equal_phases_elsewhere_harmless():
    selection = choose(phases(5), ct(6, spacing=(1.0, 0.8, 0.7)), rank=("thin_slices",))

    assert chosen(selection) == [(6, "")]


def test_two_roles_never_get_the_same_stack():
    roles = {name: InputRole(name=name, modality=("CT",)) for name in ("native", "venous")}

    both = select(manifest(inputs=roles), [series(ct(1)), series(ct(2))])
    one = select(manifest(inputs=roles), [series(ct(1))])

    assert [c.stack.series_instance_uid for c in both.inputs.values()] == [
        both.candidates[0].series_instance_uid,
        both.candidates[2].series_instance_uid,
    ]
    assert len({c.stack.series_instance_uid for c in both.inputs.values()}) == 2
    assert one.refusal is not None
    assert "it serves the input native already" in one.refusal.sentence


def test_roles_of_different_modalities_are_served_side_by_side():
    roles = {
        "ct": InputRole(name="ct", modality=("CT",)),
        "t2": InputRole(name="t2", modality=("MR",), values="raw"),
    }

    found = select(manifest(inputs=roles), [series(mr_series(SHAPE)), series(ct(2))])

    assert found.refusal is None
    assert [c.series.modality for c in found.inputs.values()] == ["CT", "MR"]
