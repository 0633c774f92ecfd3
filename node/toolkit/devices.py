"""What PyTorch's devices can do, and its global switches for one run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "_STATUS_ALLOC_FAILED",
    "could not create a memory",
)


def has_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 faster than float32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def sent(image: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """Return `image` on the device; from pinned memory the copy does not wait for the CPU."""
    here = torch.from_numpy(image)
    if device.type == "cuda":
        here = here.pin_memory()
    return here.to(device, non_blocking=True)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a device or the CPU had no memory left, in whatever words."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


@contextmanager
def switches(*, deterministic: bool, tf32: bool) -> Iterator[None]:
    """Set PyTorch's global switches for one run, and put them back.

    Parameters
    ----------
    deterministic : bool
        The same bytes in every run on the same machine.
    tf32 : bool
        A GPU may multiply float32 with shorter mantissas.
    """
    cudnn = torch.backends.cudnn.flags(
        enabled=True, benchmark=not deterministic, deterministic=deterministic, allow_tf32=tf32
    )
    before = torch.are_deterministic_algorithms_enabled()
    with cudnn:
        if deterministic:
            # cuBLAS reads it when it starts; without it PyTorch refuses to be deterministic.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
