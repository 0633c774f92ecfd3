"""Viewer profiles: valid once made, and what they say decides the bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.profiles import OHIF, PLAIN_PACS, PROFILES, STANDARD, ViewerProfile


def test_s27_an_unknown_site_gets_pictures_and_text_and_no_seg() -> None:
    plain = PROFILES["plain_pacs"]

    assert (plain.seg, plain.sr, plain.secondary_capture) == ("none", "text", True)
    assert not plain.presentation_state


def test_s27_no_profile_sends_a_presentation_state_by_itself() -> None:
    assert not any(profile.presentation_state for profile in PROFILES.values())


def test_what_nobody_proved_says_untested() -> None:
    assert PROFILES["weasis"].tested == "untested"
    assert PROFILES["plain_pacs"].tested == "untested"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seg": "mesh"}, "seg = 'mesh' is none of binary"),
        ({"sr": "pdf"}, "sr = 'pdf'"),
        ({"sr_class": "basic text"}, "sr_class = 'basic text'"),
        ({"pictures": "film"}, "pictures = 'film'"),
        ({"iocm": "yes"}, "iocm = 'yes'"),
        ({"presentation_state": True}, "not written by this version"),
        ({"max_seg_frames": 0}, "at least 1"),
        ({"seg": "none", "sr": "segment"}, "points at a SEG"),
    ],
)
def test_a_profile_that_makes_no_sense_cannot_be_made(
    changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        ViewerProfile(name="site", **changes)  # type: ignore[arg-type]


def test_names_and_proofs_decide_no_bytes_and_kinds_do() -> None:
    same = replace(STANDARD, name="site", tested="here", iocm="quality")

    assert same.encoding == STANDARD.encoding
    assert len({profile.encoding for profile in PROFILES.values()}) == len(PROFILES)
    assert OHIF.encoding != PLAIN_PACS.encoding
