"""Which cases cannot be judged: a sentence for each, and nothing is guessed."""

import numpy as np

from node.toolkit.diameters import longest_in_plane
from node.toolkit.grids import AIR_HU
from node.toolkit.outlines import incomplete

#: Ours. Median HU of a tumour on either phase: below is fat or air, above is bone, metal, iodised
#: oil of an earlier treatment, or values that are no HU.
TUMOR_HU = (-20.0, 250.0)
#: Ours. Below, an outline is a click; above, it holds more than a tumour, or than an omentum.
LEAST_MM, MOST_MM = 5.0, 250.0
#: Ours. A tumour whose outline is narrower than so many pixels at its widest is a line.
LEAST_WIDE_PX = 3
#: Ours. So much of the smaller region in the other one: they are one region, drawn for both.
MOST_SHARED = 0.5


class Unsuitable(ValueError):
    """A case that nothing can be said of; the message is a sentence without identity."""


def check_regions(volume, tumor, region):
    """Raise `Unsuitable` unless the two outlines can be those of a tumour and of an omentum."""
    for name, mask in (("tumour", tumor), ("omental fat", region)):
        check_length(name, mask, volume.spacing_mm)
    # The edge of the image is not asked for: of the phantoms' tumours some end with the images.
    inner = np.pad(tumor, 1)
    if why := incomplete(inner, volume.spacing_mm):
        raise Unsuitable(f"the outline of the tumour cannot be of all of it: {why}")
    if not is_area(inner):
        raise Unsuitable(
            f"the outline of the tumour is nowhere {LEAST_WIDE_PX} pixels wide: it is a line; "
            "outline the whole tumour"
        )
    shared = np.count_nonzero(tumor & region)
    share = shared / min(np.count_nonzero(tumor), np.count_nonzero(region))
    if share > MOST_SHARED:
        raise Unsuitable(
            f"the outlines of the tumour and of the omental fat have {share:.0%} of the smaller "
            "one in common; draw each where it is"
        )


def check_length(name, mask, spacing_mm):
    """Raise `Unsuitable` of an outline that is too short or too long in its longest slice."""
    longest = longest_in_plane(mask, spacing_mm[1:])
    found = 0.0 if longest is None else longest[0]
    if not LEAST_MM <= found <= MOST_MM:
        raise Unsuitable(
            f"the outline of the {name} is {found:.1f} mm long in its longest slice, and "
            f"{LEAST_MM:g} to {MOST_MM:g} mm are expected; outline all of the {name} and nothing "
            "else"
        )


def is_area(mask):
    """Return whether a region, off the edges of its array, holds a square of pixels in a slice."""
    found = mask
    for axis in (1, 2):
        parts = [np.roll(found, -step, axis=axis) for step in range(LEAST_WIDE_PX)]
        found = np.logical_and.reduce(parts)
    return bool(found.any())


def check_phases(arterial, portal, tumor):
    """Raise `Unsuitable` unless there are two phases, and the arterial one shows the tumour."""
    if arterial.array.shape == portal.array.shape:
        apart = np.subtract(arterial.array, portal.array, dtype=np.float64)
        if apart.min() == apart.max():
            raise Unsuitable(
                "the arterial and the portal venous images are the same, or differ by one number "
                "everywhere; both phases are needed"
            )
    if not covers(arterial, portal, tumor):
        raise Unsuitable(
            "the arterial images do not cover the whole tumour that is outlined on the portal "
            "venous ones; both phases must"
        )


def covers(volume, other, mask):
    """Return whether all of a region on the grid of `other` lies in a volume."""
    ends = [(at.min(), at.max()) for at in np.nonzero(mask)]
    corners = np.stack([*np.meshgrid(*ends, indexing="ij"), np.ones((2, 2, 2))]).reshape(4, -1)
    found = (np.linalg.inv(volume.affine) @ other.affine @ corners)[:3]
    # A voxel reaches half a step beyond its centre; what is rounded is forgiven.
    last = np.array(volume.array.shape)[:, None] - 0.49
    return bool((found >= -0.51).all() and (found <= last).all())


def check_shown(planes, masks, role):
    """Raise `Unsuitable` of planes that show no tumour: one value, padding, or no HU of tissue.

    `planes` are HU, shape (planes, rows, columns), and `masks` the tumour in them.
    """
    phase = role.replace("_", " ")
    if planes.min() == planes.max():
        raise Unsuitable(
            f"the {phase} images hold the value {planes.flat[0]:g} and no other where the tumour "
            "is; send images of the patient"
        )
    inside = planes[masks]
    if (inside <= AIR_HU).any():
        raise Unsuitable(
            f"the {phase} images hold no values in a part of the tumour, on a slice that is "
            "looked at; both phases must show all of it"
        )
    low, high = TUMOR_HU
    middle = float(np.median(inside))
    if not low <= middle <= high:
        raise Unsuitable(
            f"the outlined tumour has a median of {middle:.0f} HU on the {phase} images, which is "
            f"no tumour of the liver ({low:g} to {high:g} HU); check the outline, and whether the "
            "values are HU"
        )
