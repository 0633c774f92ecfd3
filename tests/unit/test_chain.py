"""Plugins that take another one's result as their region: order, and what `check` refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import SettingsError
from node.manifest import Code, Manifest, RoiRole
from node.routing.chain import in_order
from node.settings import RoiSettings, Settings
from node.settings_check import check_against
from tests.routing_site import ARCHIVE, RULE, manifest

CODES = (Code("108369006", "SCT", "Neoplasm"),)


def plugin(name: str, needs: str = "") -> Manifest:
    if not needs:
        return manifest(name)
    role = RoiRole(
        name="tumor", input="ct", codes=CODES, from_plugin=needs, when_missing="automatic"
    )
    return manifest(name, rois={"tumor": role})


def known(*manifests: Manifest) -> dict[str, Manifest]:
    return {one.name_version: one for one in manifests}


def site(*plugins: str) -> Settings:
    rules = tuple(replace(RULE, name=f"rule {name}", plugin=name) for name in plugins)
    return Settings(data_dir=Path("/data"), destinations=(ARCHIVE,), rules=rules)


def test_rules_are_asked_after_those_whose_results_they_need() -> None:
    manifests = known(plugin("c", "b"), plugin("b", "a"), plugin("a"), plugin("x"))

    asked = in_order(site("c", "x", "b", "a").rules, manifests)

    assert [rule.plugin for rule in asked] == ["x", "a", "b", "c"]


def test_a_ring_of_plugins_ends() -> None:
    rules = site("a", "b").rules

    assert len(in_order(rules, known(plugin("a", "b"), plugin("b", "a")))) == 2


@pytest.mark.parametrize(
    ("manifests", "rules", "sentence"),
    [
        ((plugin("b", "a"), plugin("a")), ("b",), "takes the result of a as its region, and no"),
        ((plugin("b", "a"), plugin("a", "b")), ("a", "b"), "waits for a result that waits for"),
    ],
)
def test_check_refuses_a_chain_that_never_ends(
    manifests: tuple[Manifest, ...], rules: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        check_against(site(*rules), known(*manifests))


def test_check_takes_a_chain_and_refuses_a_region_that_no_plugin_needs() -> None:
    settings, manifests = site("b", "a"), known(plugin("b", "a"), plugin("a"))
    check_against(settings, manifests)
    first, second = settings.rules
    wrong = replace(first, rois={"tumour": RoiSettings()})

    with pytest.raises(SettingsError, match=r'needs no region "tumour" \(did you mean "tumor"'):
        check_against(replace(settings, rules=(wrong, second)), manifests)
