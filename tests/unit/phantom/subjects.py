"""Small subjects for the tests of the phantom."""

import numpy as np

from node.phantom.acquisition import Acquisition, acquire, institutions
from node.phantom.masses import Inside, mass, mass_paints
from node.phantom.subject import Streams, Subject
from node.phantom.thorax import ChestAnatomy, thorax
from node.plugin import Case, Labels, Volume


def chest_subject(seed=1, *, scan_seed=None, matrix=64, slice_mm=8.0, tumour=True, family="train"):
    own = Streams.of(seed)
    others = own if scan_seed is None else Streams.of(scan_seed)
    site = institutions(3, seed=1, family=family)[int(others.acquisition.integers(3))]
    scan = Acquisition.drawn(site, others.acquisition).with_slices(slice_mm)
    chest = thorax(ChestAnatomy.drawn(own.anatomy), phase=scan.phase, rng=others.acquisition)
    if tumour:
        shape = mass("lobulated", chest.landmarks["anterior_mediastinum"], 60.0, own.lesion)
        paints = mass_paints(shape, 60.0, Inside(necrosis=0.3), own.lesion)
        chest = chest.with_paints(paints)
    grid = scan.grid(matrix, body_mm=340.0, z_mm=(-60.0, 70.0))
    truth = chest.scene.mask(grid, "mass")
    hu = acquire(chest.scene.render(grid), scan, others.noise, grid=grid)
    volume = Volume(array=hu, affine=grid.affine, unit="[hnsf'U]", modality="CT")
    attributes = {"PatientAge": chest.anatomy.age, "PatientSex": chest.anatomy.sex}
    return Subject(
        patient=f"PH{seed:04d}",
        institution=site.name,
        case=Case(volumes={"ct": volume}, attributes=attributes),
        labels=Labels(masks={"tumor": truth}),
        headers={"ct": scan.headers()},
    )


def ring(shape=(3, 12, 12)):
    """A region with a hole in the middle slice, and an island in it."""
    mask = np.zeros(shape, bool)
    mask[1, 1:11, 1:11] = True
    mask[1, 3:9, 3:9] = False
    mask[1, 5:7, 5:7] = True
    mask[2, 4, 4] = mask[2, 5, 5] = True
    return mask
