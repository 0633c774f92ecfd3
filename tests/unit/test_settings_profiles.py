"""Viewer profiles in the settings: ready, changed, of the site's own; every fault a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from node.errors import SettingsError
from node.profiles import OHIF, PLAIN_PACS, PROFILES, STANDARD, ViewerProfile
from node.settings_file import parse_settings

NODE = '[node]\ndata_dir = "data"\n'
PACS = '[[destinations]]\nname = "p"\nkind = "dicom"\ngrade = "test"\nae_title = "A"\nhost = "h"\n'
REST = '[[destinations]]\nname = "p"\nkind = "orthanc"\ngrade = "test"\nurl = "http://h:1"\n'
SHARE = '[[destinations]]\nname = "p"\nkind = "folder"\ngrade = "test"\npath = "out"\n'


def profile_of(text: str) -> ViewerProfile:
    return parse_settings(NODE + text, Path("/etc")).destination("p").profile


@pytest.mark.parametrize(
    ("destination", "profile"), [(PACS, PLAIN_PACS), (REST, PLAIN_PACS), (SHARE, STANDARD)]
)
def test_s27_an_unknown_site_starts_as_plain_pacs(destination: str, profile: ViewerProfile) -> None:
    assert profile_of(destination) == profile


@pytest.mark.parametrize("name", PROFILES)
def test_a_ready_profile_is_named(name: str) -> None:
    assert profile_of(f'{PACS}profile = "{name}"\n') == PROFILES[name]


def test_a_site_makes_a_profile_of_its_own_and_nobody_tested_it() -> None:
    own = '[profiles."our viewer"]\nlike = "ohif"\nsecondary_capture = true\nmax_seg_frames = 90\n'
    assert profile_of(f'{PACS}profile = "our viewer"\n{own}') == replace(
        OHIF, name="our viewer", secondary_capture=True, max_seg_frames=90, tested="untested"
    )


def test_a_site_changes_a_ready_profile_for_all_that_use_it() -> None:
    changed = profile_of(f"{PACS}[profiles.plain_pacs]\nkey_objects = true\n")
    assert changed == replace(PLAIN_PACS, key_objects=True)


def test_s08_the_way_of_withdrawing_is_no_matter_of_encoding() -> None:
    own = profile_of(f'{PACS}profile = "ohif"\n[profiles.ohif]\niocm = "safety"\n')
    assert (own.iocm, own.tested, own.encoding) == ("safety", OHIF.tested, OHIF.encoding)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            PACS + 'profile = "ohfi"',
            'destinations["p"].profile: there is no profile "ohfi" (did you mean "ohif"?)',
        ),
        (PACS + "profile = 3", 'destinations["p"].profile = 3: must be text, in quotes'),
        (
            '[profiles.our]\nlike = "x"',
            'profiles.our.like: there is no ready profile "x" '
            "(known: dwv, ohif, plain_pacs, standard, weasis)",
        ),
        (
            '[profiles.our]\nlike = "other"\n[profiles.other]',
            'profiles.our.like: there is no ready profile "other"',
        ),
        ('[profiles.our]\nsegg = "none"', 'unknown key profiles.our.segg (did you mean "seg"?)'),
        ('[profiles.our]\nseg = "mesh"', "must be one of binary, labelmap, fractional, none"),
        ('[profiles.our]\niocm = "later"', "must be one of none, quality, safety"),
        (
            '[profiles.our]\nsr = "segment"',
            'profiles.our: sr = "segment" points at a SEG, and seg = "none" writes none',
        ),
        ("[profiles.our]\nmax_seg_frames = 0", "max_seg_frames = 0: must be at least 1"),
        ("[profiles.our]\nkey_objects = 1", "must be true or false, without quotes"),
        ("[profiles]\nour = 3", "profiles.our = 3: must be a table: {…}"),
        ("[profiles.our]\npresentation_state = true", "profiles.our: presentation states are not"),
        (
            '[profiles.our]\nlike = "ohif"\nseg = "fractional"',
            'profiles.our.seg = "fractional" gives a SEG of kind fractional, and OHIF 3.13.2 loads '
            "it for ever and shows nothing; leave seg out",
        ),
        (
            "[profiles.dwv]\nlabelmap_beyond = true",
            "profiles.dwv.labelmap_beyond = true gives a SEG of kind labelmap, and dwv 0.36.4",
        ),
        (PACS + 'profile = ""', 'destinations["p"].profile: there is no profile ""'),
        ('[profiles." x"]', "a name has 1 to 64 printable characters"),
    ],
)
def test_every_fault_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(NODE + text + "\n", Path("/etc"))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
