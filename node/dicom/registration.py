"""What a Spatial Registration object says: how frames of reference lie to each other (C.20.2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from node.dicom.region_values import first_of, items, value_of
from node.dicom.values import lookup_in, numbers

#: Spatial Registration Storage; deformable ones have a class of their own.
SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"

#: How far a rotation may be from one, in its elements: matrices are written with few digits.
_TOLERANCE = 1e-3

Array = NDArray[np.float64]


def rigid_matrices(ds: Dataset) -> Mapping[str, Array]:
    """Return for each frame of reference the matrix (4, 4) from its mm to the registered one's.

    Left out is what is no single rigid matrix: scales, shears, several steps, other items for
    the same frame of reference.
    """
    found: dict[str, Array] = {}
    broken: set[str] = set()
    for item in items(ds, "RegistrationSequence"):
        uid = value_of(item, "FrameOfReferenceUID")
        matrix = _matrix(item)
        if uid in found or matrix is None:
            broken.add(uid)
        else:
            found[uid] = matrix
    own = value_of(ds, "FrameOfReferenceUID")
    found.setdefault(own, np.eye(4))
    return {uid: matrix for uid, matrix in found.items() if uid and uid not in broken}


def link_between(matrices: Mapping[str, Array], earlier: str, today: str) -> Array | None:
    """Return the matrix from one frame of reference's mm to another's; None if not linked."""
    if earlier not in matrices or today not in matrices:
        return None
    return np.asarray(np.linalg.inv(matrices[today]) @ matrices[earlier])


def _matrix(item: Dataset) -> Array | None:
    registrations = items(item, "MatrixRegistrationSequence")
    steps = [step for one in registrations for step in items(one, "MatrixSequence")]
    if len(registrations) != 1 or len(steps) != 1:
        return None
    if first_of(steps[0], ("FrameOfReferenceTransformationMatrixType",)).upper() != "RIGID":
        return None
    values = numbers(lookup_in(steps[0])("FrameOfReferenceTransformationMatrix"), 16)
    matrix = None if values is None else np.array(values, dtype=np.float64).reshape(4, 4)
    return matrix if matrix is not None and _is_rigid(matrix) else None


def _is_rigid(matrix: Array) -> bool:
    turn = matrix[:3, :3]
    return bool(
        np.allclose(matrix[3], (0, 0, 0, 1), atol=_TOLERANCE)
        and np.allclose(turn @ turn.T, np.eye(3), atol=_TOLERANCE)
        and np.linalg.det(turn) > 0
    )
