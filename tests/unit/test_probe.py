"""What a destination takes, asked without data; what its profile misses is said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE

from node.delivery.probe import (
    ALWAYS,
    CAPTURE,
    CAPTURES,
    COMMITMENT,
    KEY_OBJECTS,
    KINDS,
    LABEL_MAP,
    MAP,
    PDF,
    PRESENTATION,
    SEG,
    SR,
    SR_3D,
    Probe,
    cautions,
    probe_destination,
    suits,
    wanted_kinds,
)
from node.errors import DeliveryFailed
from node.profiles import DWV, OHIF, PLAIN_PACS, PROFILES, STANDARD, WEASIS, ViewerProfile
from tests.delivering import Peer, settings_for
from tests.make import free_port


class Picky(Peer):
    """A peer that takes some kinds, each in some transfer syntaxes."""

    syntaxes: dict[str, list[str]]

    def _entity(self) -> AE:
        entity = AE(ae_title="ARCHIVE")
        for uid, syntaxes in self.syntaxes.items():
            entity.add_supported_context(uid, syntaxes)
        return entity


@contextmanager
def archive(taken: dict[str, list[str]]) -> Iterator[Peer]:
    peer = Picky()
    peer.syntaxes = taken
    with peer:
        yield peer


def ask(peer: Peer, profile: ViewerProfile = PLAIN_PACS, *, maps: bool = False) -> Probe:
    settings = settings_for(port=peer.port, profile=profile)
    return probe_destination(settings, "NODE", maps=maps)


def test_each_kind_is_told_with_the_transfer_syntaxes_that_are_taken() -> None:
    both = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    taken = {
        SEG.sop_class_uid: [ExplicitVRLittleEndian, "1.2.840.10008.1.2.5"],
        SR_3D.sop_class_uid: both,
        COMMITMENT.sop_class_uid: both,
    }
    with archive(taken) as peer:
        found = ask(peer)
        assert (peer.associations, peer.received) == (1, [])
    assert found.place == f"ARCHIVE at 127.0.0.1:{peer.port}"
    assert tuple(found.accepted) == KINDS
    assert found.accepted[SEG] == ("Explicit VR LE", "RLE")
    assert found.accepted[SR_3D] == found.accepted[COMMITMENT]
    assert found.accepted[SR_3D] == ("Explicit VR LE", "Implicit VR LE")
    assert not any(found.accepted[kind] for kind in (LABEL_MAP, SR, MAP, PRESENTATION, PDF))


def test_s27_what_the_profile_sends_and_the_archive_refuses_is_a_warning() -> None:
    plain = [ExplicitVRLittleEndian]
    taken = {SR_3D.sop_class_uid: plain, CAPTURE.sop_class_uid: [ImplicitVRLittleEndian]}
    with archive(taken) as peer:
        ohif, pictures = ask(peer, OHIF), ask(peer, PLAIN_PACS)
    assert ohif.warnings == (
        "profile ohif sends Segmentation in Explicit VR LE, and the destination refuses it",
    )
    assert pictures.warnings == (
        "profile plain_pacs sends Secondary Capture in Explicit VR LE, and the destination takes "
        "it only in Implicit VR LE",
    )


def test_an_archive_that_refuses_the_newer_class_of_reports_is_told_the_way_out() -> None:
    plain = [ExplicitVRLittleEndian]
    older = replace(OHIF, sr_class="comprehensive")
    with archive({SR.sop_class_uid: plain, SEG.sop_class_uid: plain}) as peer:
        (said,) = ask(peer, OHIF).warnings
        assert ask(peer, older).warnings == ()
    assert said == (
        "profile ohif sends Comprehensive 3D SR in Explicit VR LE, and the destination refuses it"
        '; it takes Comprehensive SR: sr_class = "comprehensive" in a profile'
    )


def test_an_archive_that_takes_nothing_still_answers() -> None:
    with archive({PDF.sop_class_uid: ["1.2.840.10008.1.2.4.50"]}) as peer:
        found = ask(peer)
    assert not any(found.accepted.values())
    assert len(found.warnings) == 2


def test_a_destination_that_is_not_there_is_named() -> None:
    settings = settings_for(port=free_port())
    with pytest.raises(DeliveryFailed, match=r"destination pacs \(ARCHIVE at 127\.0\.0\.1"):
        probe_destination(settings, "NODE", maps=False)


def test_a_folder_takes_everything(tmp_path) -> None:
    settings = settings_for(kind="folder", path=tmp_path, profile=STANDARD)
    found = probe_destination(settings, "NODE", maps=True)
    assert (found.accepted, found.warnings) == ({}, ())
    assert "can be written" in found.place and "every file" in found.notes[0]


@pytest.mark.parametrize(
    ("profile", "maps", "kinds"),
    [
        (PLAIN_PACS, True, {SR_3D, CAPTURE}),
        (OHIF, True, {SEG, SR_3D}),
        (DWV, False, {SEG, SR_3D, CAPTURES}),
        (WEASIS, False, {SEG, SR_3D, KEY_OBJECTS}),
        (STANDARD, False, {SEG, SR_3D}),
        (STANDARD, True, {SEG, SR_3D, MAP}),
        (replace(OHIF, seg="labelmap"), False, {LABEL_MAP, SR_3D}),
        (replace(OHIF, sr_class="comprehensive"), False, {SEG, SR}),
    ],
)
def test_a_profile_wants_what_it_sends(
    profile: ViewerProfile, maps: bool, kinds: set[object]
) -> None:
    wanted = wanted_kinds(profile, maps=maps)
    assert {kind for kind, when in wanted.items() if when == ALWAYS} == kinds


def test_a_label_map_is_wanted_only_where_the_viewer_opens_one() -> None:
    assert wanted_kinds(STANDARD)[LABEL_MAP] == "over 20000 frames"
    assert LABEL_MAP not in wanted_kinds(DWV)


def test_s08_a_withdrawal_by_iocm_needs_key_objects() -> None:
    profile = replace(PLAIN_PACS, iocm="quality")
    taken = dict.fromkeys((SR_3D, CAPTURE), ("Explicit VR LE",))
    assert suits(PLAIN_PACS, taken)
    assert not suits(profile, taken)
    assert wanted_kinds(profile)[KEY_OBJECTS] == "to withdraw"


def test_a_label_map_that_would_be_refused_is_a_caution() -> None:
    taken = dict.fromkeys((SEG, SR_3D), ("Explicit VR LE",))
    (said,) = cautions(OHIF, taken)
    assert said == (
        "profile ohif sends Label Map Segmentation over 20000 frames, and the destination refuses "
        "it: such a result does not arrive there"
    )
    assert not cautions(PLAIN_PACS, taken)
    assert not cautions(OHIF, {**taken, LABEL_MAP: ("Explicit VR LE",)})
    (other,) = cautions(replace(OHIF, seg="labelmap"), {LABEL_MAP: ("Explicit VR LE",)})
    assert "sends Segmentation if segments overlap" in other


def test_s27_the_probe_tells_cautions_of_its_profile() -> None:
    plain = [ExplicitVRLittleEndian]
    with archive({SR_3D.sop_class_uid: plain, SEG.sop_class_uid: plain}) as peer:
        found = ask(peer, OHIF)
    assert found.warnings == ()
    assert found.cautions == cautions(OHIF, found.accepted) != ()


def test_what_is_sent_now_and_then_is_no_warning() -> None:
    taken = dict.fromkeys((SEG, SR_3D), ("Explicit VR LE",))
    assert wanted_kinds(OHIF)[LABEL_MAP] == "over 20000 frames"
    assert suits(OHIF, taken)
    assert [name for name, one in PROFILES.items() if suits(one, taken)] == ["ohif", "standard"]
