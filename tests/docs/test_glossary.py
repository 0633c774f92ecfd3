"""The glossary has every state and noun of the code."""

import re
from pathlib import Path

import pytest

from node import model

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "glossary.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "states",
    [model.InstanceState, model.StudyState, model.JobState, model.DeliveryState, model.Grade],
)
def test_every_state_is_explained(states):
    assert [state.value for state in states if f"`{state.value}`" not in PAGE] == []


def test_every_noun_of_the_model_is_explained():
    nouns = {
        name
        for name in ("Instance", "Study", "Job", "Evidence", "Delivery")
        if hasattr(model, name)
    }
    assert nouns <= set(re.findall(r"\*\*(\w+)\*\*", PAGE))
