"""Which cases cannot be judged: a sentence for each, and nothing is guessed."""

import numpy as np

from node.toolkit.diameters import longest_in_plane
from node.toolkit.grids import AIR_HU

#: Ours. Median HU of a tumour on the portal venous phase: below is fat or air, above is bone,
#: metal or iodised oil of an earlier treatment.
TUMOR_HU = (-20.0, 250.0)
#: Ours. Below, an outline is a click, not a tumour.
LEAST_MM = 5.0
#: Ours. So much of the smaller region in the other one: they are one region, drawn for both.
MOST_SHARED = 0.5


class Unsuitable(ValueError):
    """A case that nothing can be said of; the message is a sentence without identity."""


def check_regions(volume, tumor, region):
    """Raise `Unsuitable` unless the two outlines can be those of a tumour and of an omentum."""
    longest = longest_in_plane(tumor, volume.spacing_mm[1:])
    if longest is None or longest[0] < LEAST_MM:
        found = 0.0 if longest is None else longest[0]
        raise Unsuitable(
            f"the outline of the tumour is {found:.1f} mm long in its longest slice; outline the "
            f"whole tumour, at least {LEAST_MM:g} mm"
        )
    shared = np.count_nonzero(tumor & region)
    share = shared / min(np.count_nonzero(tumor), np.count_nonzero(region))
    if share > MOST_SHARED:
        raise Unsuitable(
            f"the outlines of the tumour and of the omental fat have {share:.0%} of the smaller "
            "one in common; draw each where it is"
        )
    low, high = TUMOR_HU
    middle = float(np.median(volume.array[tumor]))
    if not low <= middle <= high:
        raise Unsuitable(
            f"the outlined tumour has a median of {middle:.0f} HU on the portal venous images, "
            f"which is no tumour of the liver ({low:g} to {high:g} HU); check the outline"
        )


def check_phases(arterial, portal, tumor):
    """Raise `Unsuitable` unless there are two phases, and the arterial one shows the tumour."""
    same = arterial.array.shape == portal.array.shape
    if same and np.array_equal(arterial.array, portal.array):
        raise Unsuitable(
            "the arterial and the portal venous images are the same; both phases are needed"
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


def check_shown(plane, mask, role):
    """Raise `Unsuitable` where a tumour lies in padding, or in air, of a plane."""
    if (plane[mask] <= AIR_HU).any():
        raise Unsuitable(
            f"the {role.replace('_', ' ')} images hold no values in a part of the tumour's "
            "largest slice; both phases must show all of it"
        )
