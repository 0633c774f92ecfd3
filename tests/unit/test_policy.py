"""Who may associate: a table."""

from pathlib import Path

import pytest

from node.intake.policy import Admission, Rejection, admit
from node.settings import PeerSettings, Settings

PEERS = (
    PeerSettings(name="ct", ae_title="CT1", hosts=("10.0.0.5",)),
    PeerSettings(name="lan", ae_title="PACS", hosts=("10.1.0.0/16", "fd00::/8")),
    PeerSettings(name="second", ae_title="PACS", hosts=("10.2.0.1",), store=False),
    PeerSettings(name="anywhere", ae_title="ROAM", called=("NODE2",), max_associations=2),
)
STRICT = Settings(data_dir=Path("/nowhere"), ae_titles=("NODE", "NODE2"), peers=PEERS)
OPEN = Settings(
    data_dir=Path("/nowhere"), ae_titles=("NODE", "NODE2"), peers=PEERS, promiscuous=True
)
CALLING = Rejection.CALLING_AE_NOT_RECOGNISED
CALLED = Rejection.CALLED_AE_NOT_RECOGNISED


@pytest.mark.parametrize(
    ("settings", "calling", "called", "address", "expected"),
    [
        (STRICT, "CT1", "NODE", "10.0.0.5", "ct"),
        (STRICT, " CT1 ", " NODE2  ", "10.0.0.5", "ct"),
        (STRICT, "CT1", "NODE", "::ffff:10.0.0.5", "ct"),
        (STRICT, "PACS", "NODE", "10.1.200.7", "lan"),
        (STRICT, "PACS", "NODE", "fd12::1%eth0", "lan"),
        (STRICT, "PACS", "NODE", "10.2.0.1", "second"),
        (STRICT, "ROAM", "NODE2", "203.0.113.9", "anywhere"),
        (STRICT, "CT1", "NODE", "10.0.0.6", CALLING),
        (STRICT, "ct1", "NODE", "10.0.0.5", CALLING),
        (STRICT, "CT", "NODE", "10.0.0.5", CALLING),
        (STRICT, "", "NODE", "10.0.0.5", CALLING),
        (STRICT, "PACS", "NODE", "10.3.0.1", CALLING),
        (STRICT, "CT1", "OTHER", "10.0.0.5", CALLED),
        (STRICT, "CT1", "node", "10.0.0.5", CALLED),
        (STRICT, "ROAM", "NODE", "10.0.0.5", CALLED),
        # An unknown caller learns nothing about our titles.
        (STRICT, "NOBODY", "OTHER", "10.0.0.5", CALLING),
        (OPEN, "NOBODY", "WHATEVER", "203.0.113.9", ""),
        (OPEN, "CT1", "NODE", "10.0.0.5", "ct"),
        (OPEN, "CT1", "NODE", "203.0.113.9", ""),
        (OPEN, "ROAM", "NODE", "10.0.0.5", CALLED),
    ],
)
def test_admission(settings, calling, called, address, expected):
    verdict = admit(settings, calling_ae=calling, called_ae=called, address=address)
    if isinstance(expected, Rejection):
        assert verdict is expected
    else:
        assert isinstance(verdict, Admission)
        assert verdict.peer == expected
        assert verdict.calling_ae == calling.strip()
        assert verdict.called_ae == called.strip()


def test_s11_what_a_peer_may_do_comes_with_it():
    second = admit(STRICT, calling_ae="PACS", called_ae="NODE", address="10.2.0.1")
    assert not second.may_store
    roaming = admit(STRICT, calling_ae="ROAM", called_ae="NODE2", address="10.2.0.1")
    assert roaming.max_associations == 2


def test_reasons_are_those_of_the_standard():
    """PS3.8 9.3.4: result, source, reason."""
    assert CALLING.value == (1, 1, 3)
    assert CALLED.value == (1, 1, 7)
    assert Rejection.LOCAL_LIMIT_EXCEEDED.value == (2, 3, 2)
