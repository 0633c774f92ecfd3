"""Fail unless every test of the given JUnit reports ran: a skipped peer test proves nothing."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def main(reports: list[str]) -> int:
    """Say which tests were skipped; 0 only if some ran and none was skipped."""
    cases = [
        case for report in reports for case in ElementTree.parse(Path(report)).iter("testcase")
    ]
    skipped = [case for case in cases if case.find("skipped") is not None]
    for case in skipped:
        reason = case.find("skipped")
        message = reason.get("message", "") if reason is not None else ""
        sys.stderr.write(f"skipped: {case.get('classname')}.{case.get('name')}: {message}\n")
    if not cases:
        sys.stderr.write("no peer test ran\n")
    return 1 if skipped or not cases else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
