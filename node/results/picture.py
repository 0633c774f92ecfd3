"""One PNG for each finding: its largest slice, its outline, its values; no patient data."""

from __future__ import annotations

from pathlib import Path

from node.plugin import Case, Volume
from node.results.drawing import page_of_slice
from node.results.request import EncodeRequest, Finding


def overlay_picture(request: EncodeRequest, case: Case, folder: Path) -> Path | None:
    """Draw every finding into `folder`; return the first one's picture, None without any.

    Parameters
    ----------
    case : Case
        What the plugin saw: the pictures show those values.
    """
    paths = [
        picture_of_finding(
            request,
            finding,
            volume=case.volumes[finding.segment.role],
            out_path=folder / f"finding-{number}.png",
        )
        for number, finding in enumerate(request.findings, start=1)
    ]
    return paths[0] if paths else None


def picture_of_finding(
    request: EncodeRequest, finding: Finding, *, volume: Volume, out_path: Path
) -> Path:
    """Draw a finding on the slice where its area is largest, and return `out_path`."""
    page = page_of_slice(
        request, finding.segment.role, finding.largest, findings=[finding], volume=volume
    )
    out_path.parent.mkdir(parents=True, exist_ok=True)
    page.save(out_path, "PNG")
    return out_path
