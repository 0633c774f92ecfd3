"""A job whose images have a second version by the time it runs (S2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.errors import InputUnsettled, NodeError, Refused
from node.model import InstanceState
from node.phantom.study import make_ct_study
from node.pipeline import process
from node.profiles import STANDARD
from node.storage.intake_rows import change_instances, instances_of_study
from tests.integration.test_profiles import Dense, routed


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        (InstanceState.UNRESOLVED, InputUnsettled, "another version .* just arrived"),
        (InstanceState.CONFLICT, Refused, "choose one with `sentinel-node choose`"),
        (InstanceState.REPLACED, Refused, "1 of 12 chosen images are not here any more"),
    ],
    ids=lambda one: one if isinstance(one, InstanceState) else "",
)
def test_s02_no_image_is_used_while_nobody_knows_which_version(
    tmp_path: Path, state: InstanceState, error: type[NodeError], words: str
) -> None:
    study = make_ct_study(tmp_path / "study", shape=(12, 64, 64))
    with routed(tmp_path, study, {"archive": STANDARD}) as (node, job):
        image = instances_of_study(node.db, job.study_instance_uid)[3]
        change_instances(node.db, {image.id: state})
        with pytest.raises(error, match=words):
            process(job, node, Dense())
