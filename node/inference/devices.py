"""Which device slots this machine has, asked without importing torch here (E8)."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from node.errors import SettingsError

_DEVICE = re.compile(r"cpu|cuda:\d+")
_PROBE = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
_PROBE_LIMIT_S = 120.0


def resolve_devices(
    devices: Sequence[str], *, count_cuda: Callable[[], int] | None = None
) -> tuple[str, ...]:
    """Return the device slots that `devices` of the settings mean on this machine.

    Parameters
    ----------
    devices : sequence of str
        ``auto``, ``cpu``, ``cuda:0``…
    count_cuda : callable
        Counts the usable CUDA devices; default: ask a process that imports torch.

    Raises
    ------
    SettingsError
        If a device is unknown or not here.

    Examples
    --------
    >>> resolve_devices(("auto",), count_cuda=lambda: 2)
    ('cuda:0', 'cuda:1')
    >>> resolve_devices(("auto",), count_cuda=lambda: 0)
    ('cpu',)
    """
    count = count_cuda or count_cuda_devices
    found: list[str] = []
    for device in devices:
        if device == "auto":
            found += [f"cuda:{number}" for number in range(count())] or ["cpu"]
        elif _DEVICE.fullmatch(device) is None:
            raise SettingsError(f"devices: `{device}` is not auto, cpu or cuda:N")
        elif device != "cpu" and int(device.removeprefix("cuda:")) >= count():
            raise SettingsError(f"devices: `{device}` is not usable here (driver and torch?)")
        else:
            found.append(device)
    if len(set(found)) < len(found) or not found:
        raise SettingsError(f"devices: {', '.join(devices) or 'empty'} must name each slot once")
    return tuple(found)


def count_cuda_devices() -> int:
    """Return how many CUDA devices torch can use; 0 without a driver or without torch."""
    if not _has_driver() or importlib.util.find_spec("torch") is None:
        return 0
    try:
        answer = subprocess.run(
            [sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_LIMIT_S, check=True
        )
        return int(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0


def _has_driver() -> bool:
    """Return whether a driver's device file exists (``dxg``: WSL, ``kfd``: ROCm)."""
    return any(Path("/dev", name).exists() for name in ("nvidiactl", "nvidia0", "dxg", "kfd"))
