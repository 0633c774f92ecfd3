"""A gate that cannot close is for show: each is broken here once."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CASE = '<testcase classname="t" name="a">{}</testcase>'


@pytest.mark.parametrize(
    ("cases", "code"),
    [
        (CASE.format(""), 0),
        (CASE.format("") + CASE.format('<skipped message="no Orthanc"/>'), 1),
        ("", 1),
    ],
)
def test_ci_fails_if_a_peer_test_was_skipped_or_none_ran(tmp_path, cases, code):
    report = tmp_path / "peers.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    command = [sys.executable, str(REPOSITORY / "scripts" / "no_skips.py"), str(report)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == code


def test_a_missing_peer_fails_where_peers_are_required(monkeypatch):
    from tests.peers import require_peer

    monkeypatch.setenv("SENTINEL_PEERS", "required")
    with pytest.raises(pytest.fail.Exception, match="not installed"):
        require_peer("nothing", found=False)
    monkeypatch.delenv("SENTINEL_PEERS")
    with pytest.raises(pytest.skip.Exception, match="not installed"):
        require_peer("nothing", found=False)


def test_ci_and_scripts_can_be_executed():
    for name in (".ci/run", "scripts/check", "scripts/install-peers", "scripts/pins"):
        assert (REPOSITORY / name).stat().st_mode & 0o111, name
