"""How far the signatures of a plugin kept features in which the causes of its phantoms show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from node.manifest import Manifest
from node.toolkit.signature import Enrichment
from node.toolkit.workers import Workers
from node.training.plugin_code import Abilities, causes_kept

#: What `node.training.report.signatures_of` tells of one signature.
_Signature = dict[str, Any]


def with_causes(
    signatures: Sequence[_Signature],
    manifest: Manifest,
    able: Abilities,
    learned: Mapping[str, object],
    workers: Workers,
) -> tuple[_Signature, ...]:
    """Return the signatures, those that learned from phantoms with what they kept of the causes.

    What shows the causes of a phantom says nothing of a signature that learned from patients.
    """
    if "causes_kept" not in able.train or learned.get("data") != "phantoms":
        return tuple(signatures)
    return tuple(
        one | {"planted": _figures(workers.one(causes_kept, manifest.folder, _by_block(one)))}
        for one in signatures
    )


def _by_block(signature: _Signature) -> dict[str, list[str]]:
    """Return the kept features of each block that was offered."""
    return {
        block: [kept["name"] for kept in signature["kept"] if kept["block"] == block]
        for block in signature["counts"]
    }


def _figures(found: Mapping[str, Enrichment]) -> dict[str, dict[str, float]]:
    return {
        block: {
            "families": one.families,
            "families_kept": one.families_kept,
            "share": one.share,
            "share_causal": one.share_causal,
            "share_null": one.share_null,
            "enrichment": one.enrichment,
        }
        for block, one in found.items()
    }
