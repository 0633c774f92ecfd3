"""Tables of made-up features for the tests of signatures."""

from __future__ import annotations

import numpy as np

from node.toolkit.signature import Block, Table


def cases(count=120, *, seed=0, causal=3, null=25, effect=1.2, name="radiomic"):
    """Return a table of one block, and outcomes that its first features have to do with."""
    chance = np.random.default_rng(seed)
    outcome = np.arange(count) % 2 == 0
    values = chance.normal(0, 1, (count, causal + null))
    values[:, :causal] += effect * outcome[:, None]
    names = tuple([f"cause_{i}" for i in range(causal)] + [f"null_{i}" for i in range(null)])
    order = chance.permutation(count)
    block = Block(names=names, values=(values * 7.0 + 30.0)[order])
    return Table(blocks={name: block}), outcome[order]


def joined(*tables):
    """Return one table of the blocks of several."""
    return Table(blocks={name: block for table in tables for name, block in table.blocks.items()})
