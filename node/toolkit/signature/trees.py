"""Decision trees as plain arrays. NumPy only.

Four learners write their trees down differently; here all are alike: a case goes left where its
feature is not greater than the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int32]
_LEAF = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """Trees one after the other.

    Attributes
    ----------
    feature : int32, shape (nodes,)
        Which feature decides; -1 at a leaf.
    threshold : float64, shape (nodes,)
    left, right : int32, shape (nodes,)
        Where a case goes on; a leaf's own number at a leaf.
    value : float64, shape (nodes,)
        What a leaf says.
    roots : int32, shape (trees,)
    """

    feature: Index
    threshold: Array
    left: Index
    right: Index
    value: Array
    roots: Index

    def said(self, features: NDArray[Any]) -> Array:
        """Return what each tree says of each case, shape (cases, trees).

        Compared in the precision that `features` come in: trees of scikit-learn and XGBoost
        were grown on float32.
        """
        cases = np.arange(len(features))[:, None]
        node = np.broadcast_to(self.roots, (len(features), len(self.roots))).copy()
        while True:
            asked = self.feature[node]
            inner = asked != _LEAF
            if not inner.any():
                found: Array = self.value[node]
                return found
            below = features[cases, np.maximum(asked, 0)] <= self.threshold[node]
            node = np.where(inner, np.where(below, self.left[node], self.right[node]), node)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a weights file keeps."""
        return dict(vars(self))

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Trees:
        """Return what `arrays` of a weights file were."""
        names = ("feature", "threshold", "left", "right", "value", "roots")
        found = Trees(**{name: arrays[name] for name in names})
        nodes = len(found.feature)
        ends = np.concatenate([found.left, found.right, found.roots])
        if not len(found.threshold) == len(found.left) == len(found.right) == nodes or not (
            len(found.value) == nodes and ((ends >= 0) & (ends < nodes)).all()
        ):
            raise ValueError("a part of its trees is missing")
        return found


#: Of one tree: feature, threshold, left, right, value; numbers of nodes within the tree.
Grown = tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike, ArrayLike]


def joined(grown: Sequence[Grown]) -> Trees:
    """Return trees one after the other; a leaf has left = -1 or feature < 0."""
    parts: list[tuple[NDArray[Any], ...]] = []
    roots, start = [], 0
    for feature, threshold, left, right, value in grown:
        count = np.asarray(feature).size
        own = np.arange(start, start + count)
        leaf = (np.asarray(left) < 0) | (np.asarray(feature) < 0)
        parts.append(
            (
                np.where(leaf, _LEAF, feature),
                np.where(leaf, 0.0, threshold),
                np.where(leaf, own, np.asarray(left) + start),
                np.where(leaf, own, np.asarray(right) + start),
                np.where(leaf, value, 0.0),
            )
        )
        roots.append(start)
        start += count
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Trees(
        feature=columns[0].astype(np.int32),
        threshold=columns[1].astype(np.float64),
        left=columns[2].astype(np.int32),
        right=columns[3].astype(np.int32),
        value=columns[4].astype(np.float64),
        roots=np.array(roots, np.int32),
    )


def of_sklearn(trees: Sequence[Any]) -> Trees:
    """Return the trees of a scikit-learn ensemble: of a classifier the share with the outcome."""
    grown: list[Grown] = []
    for one in trees:
        inner = one.tree_
        values = inner.value[:, 0, :]
        share = values[:, 1] if values.shape[1] == 2 else values[:, 0]
        grown.append(
            (inner.feature, inner.threshold, inner.children_left, inner.children_right, share)
        )
    return joined(grown)


def of_xgboost(document: Mapping[str, Any]) -> tuple[Trees, float]:
    """Return the trees of XGBoost's own JSON, and the log-odds that they begin from.

    XGBoost goes left below the threshold, in float32: that is, up to the number before it.
    """
    learner = document["learner"]
    grown: list[Grown] = []
    for one in learner["gradient_booster"]["model"]["trees"]:
        limits = np.asarray(one["split_conditions"], np.float32)
        before = np.nextafter(limits, np.float32(-np.inf))
        # A leaf keeps what it says where an inner node keeps its threshold.
        left, right = one["left_children"], one["right_children"]
        grown.append((one["split_indices"], before, left, right, limits))
    base = str(learner["learner_model_param"]["base_score"]).strip("[]")
    share = float(np.float32(float(base)))
    return joined(grown), float(np.log(share) - np.log1p(-share))


def of_lightgbm(document: Mapping[str, Any]) -> Trees:
    """Return the trees of LightGBM's own JSON."""
    return joined([_lightgbm_tree(one["tree_structure"]) for one in document["tree_info"]])


def _lightgbm_tree(root: Mapping[str, Any]) -> Grown:
    feature: list[int] = []
    threshold: list[float] = []
    left: list[int] = []
    right: list[int] = []
    value: list[float] = []

    def add(node: Mapping[str, Any]) -> int:
        here = len(feature)
        is_leaf = "leaf_value" in node
        feature.append(_LEAF if is_leaf else int(node["split_feature"]))
        threshold.append(0.0 if is_leaf else float(node["threshold"]))
        value.append(float(node["leaf_value"]) if is_leaf else 0.0)
        left.append(_LEAF)
        right.append(_LEAF)
        if not is_leaf:
            if node["decision_type"] != "<=":
                raise ValueError(f"LightGBM decides by {node['decision_type']!r}, not by <=")
            left[here] = add(node["left_child"])
            right[here] = add(node["right_child"])
        return here

    add(root)
    return feature, threshold, left, right, value
