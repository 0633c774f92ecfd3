"""A network run over a whole volume, window by window, on the CPU or a GPU.

The windows, their blending and the result are those of MONAI's `sliding_window_inference`. What is
different: windows without anything but air are left out; on the CPU the layers are computed by
`node.toolkit.layers`; a rough pass in bfloat16 finds the windows that need float32 at all; and a
device out of memory makes the run slower, not fail.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from node.toolkit import tiling
from node.toolkit.devices import has_bfloat16, is_out_of_memory, sent, switches
from node.toolkit.layers import cpu_copy

Activation = Literal["sigmoid", "softmax", "none"]
Precision = Literal["auto", "exact"]

#: Probabilities of the rough and of the exact pass that differ by more are not rounding,
_ROUGH_TOLERANCE = 0.2
#: unless they are so few of a window's: at the edge of what is seen they are steep.
_ROUGH_SHARE = 0.002
#: Time of a rough pass as a part of that of an exact one, rounded up.
_ROUGH_COST = 0.6
#: Exact passes that rough ones may cost in vain before they are given up for an image.
_ROUGH_CREDIT = 3.0
#: Voxels of a window, below which two at a time are quicker on a CPU than one.
_SMALL = 500_000


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """How a network is run over a volume.

    Attributes
    ----------
    size : (slices, rows, columns)
        Of one window, in voxels.
    overlap : float
        Part of a window that the next one covers too, from 0 to below 1.
    activation : "sigmoid", "softmax" or "none"
        Makes probabilities of the blended output. "softmax": class 0 is the background.
    batch : int
        Windows computed at a time; 0: 4 on a GPU, on the CPU 1, of small windows 2.
    air : float or None
        Windows whose values are all at or below it, in every channel, are not computed: where
        no other window lies the probability is 0 (softmax: background, 1). After `hu_window`
        everything below the window is 0, lung too. Beside them fewer windows are blended, so the
        values there differ from MONAI's. None: no window is left out.
    precision : "auto" or "exact"
        "exact": float32 throughout. "auto": on a CPU that has bfloat16 instructions, float32
        for every window in which a rough pass saw a probability of `sure_below` or more; on a
        GPU, float16 where PyTorch's autocast allows.
    sure_below : float
        Set it well below any threshold that is put to the probabilities.
    deterministic : bool
        The same bytes in every run on the same machine, for a GPU too.
    """

    size: tuple[int, int, int] = (96, 96, 96)
    overlap: float = 0.5
    activation: Activation = "sigmoid"
    batch: int = 0
    air: float | None = 0.0
    precision: Precision = "auto"
    sure_below: float = 0.2
    deterministic: bool = False

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1 or not 0 <= self.overlap < 1 or self.batch < 0:
            raise ValueError(f"no windows are possible with {self}")
        if self.activation not in get_args(Activation):
            raise ValueError(f"activation is one of {get_args(Activation)}, not {self.activation}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision is one of {get_args(Precision)}, not {self.precision}")

    def probabilities(self, output: torch.Tensor, dim: int) -> torch.Tensor:
        """Return probabilities of a network's output with its classes along `dim`."""
        if self.activation == "sigmoid":
            return output.sigmoid()
        return output.softmax(dim) if self.activation == "softmax" else output


def predict(
    network: nn.Module,
    image: NDArray[np.float32],
    settings: SlidingWindow | None = None,
    *,
    device: str = "cpu",
    notes: list[str],
) -> NDArray[np.float32]:
    """Return what `network` says of each voxel; see `Predictor`, which keeps what it prepared."""
    return Predictor(network, settings, device=device).predict(image, notes=notes)


class Predictor:
    """A network made ready for one device. Make it in `Plugin.load`, use it in `Plugin.run`.

    Parameters
    ----------
    network : Module
        Maps (windows, channels, slices, rows, columns) to (windows, classes, slices, rows,
        columns), both float32. Stays as it is.
    settings : SlidingWindow or None
    device : str
        ``cpu`` or ``cuda:N``.
    """

    def __init__(
        self, network: nn.Module, settings: SlidingWindow | None = None, *, device: str = "cpu"
    ):
        self._network = network
        self._settings = settings or SlidingWindow()
        self._device = device
        self._runs: dict[str, _Run] = {}
        if device == "cpu":
            self._run_on("cpu")

    def predict(self, image: NDArray[np.float32], *, notes: list[str]) -> NDArray[np.float32]:
        """Return what the network says of each voxel.

        Parameters
        ----------
        image : float32, shape (channels, slices, rows, columns)
            An axis shorter than a window is filled with 0 on both sides.
        notes : list of str
            Sentences about what did not go as planned are appended; put them into
            `Result.notes`.

        Returns
        -------
        float32, shape (classes, slices, rows, columns)
            Probabilities, or the blended output of the network without activation.

        Raises
        ------
        ValueError
            If `image` does not have four axes, or holds what is not a number.
        RuntimeError
            If the network fails, or one window does not fit into the memory of the CPU.
        """
        if image.ndim != 4:
            raise ValueError(f"an image has 4 axes, not {image.ndim}")
        image = np.ascontiguousarray(image, dtype=np.float32)
        if not np.isfinite(image).all():
            raise ValueError("the image holds values that are not finite numbers")
        with torch.inference_mode(), self._switches():
            if self._device != "cpu":
                made = self._attempt(image, notes)
                if made is not None:
                    return made
                torch.cuda.empty_cache()
                notes.append(f"{self._device} ran out of memory; the CPU computed the result.")
            return self._run_on("cpu").over(image, notes)

    def _attempt(self, image: NDArray[np.float32], notes: list[str]) -> NDArray[np.float32] | None:
        """Return the result of the device; None if its memory is too small."""
        try:
            return self._run_on(self._device).over(image, notes)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

    def _switches(self) -> AbstractContextManager[None]:
        settings = self._settings
        return switches(deterministic=settings.deterministic, tf32=settings.precision == "auto")

    def _run_on(self, device: str) -> _Run:
        if device not in self._runs:
            self._runs[device] = _Run(self._network, self._settings, device)
        return self._runs[device]


class _Run:
    """The network on one device."""

    def __init__(self, network: nn.Module, settings: SlidingWindow, device: str):
        self._settings = settings
        self._device = torch.device(device)
        self._weights = torch.from_numpy(tiling.gaussian(settings.size)).to(self._device)
        self._rough: nn.Module | None = None
        auto = settings.precision == "auto"
        self._half = auto and device != "cpu"
        self._batch = settings.batch or (4 if device != "cpu" else _batch_on_cpu(settings.size))
        if device != "cpu":
            there: Any = copy.deepcopy(network).to(self._device, torch.float32)
            self._exact = there.to(memory_format=torch.channels_last_3d).eval()
            return
        self._exact = cpu_copy(network)
        if auto and settings.activation != "none" and has_bfloat16():
            self._rough = cpu_copy(network, torch.bfloat16)

    def over(self, image: NDArray[np.float32], notes: list[str]) -> NDArray[np.float32]:
        """Return the result for a whole image; see `Predictor.predict`."""
        shape = image.shape[1:]
        pads = tiling.padding(shape, self._settings.size)
        padded = np.pad(image, ((0, 0), *pads)) if any(map(any, pads)) else image
        passes = _Passes(self._settings, self._exact, self._rough)
        blended = self._blended(padded, passes, notes)
        if passes.failed or (self._half and not bool(torch.isfinite(blended).all())):
            notes.append("Half precision was not exact enough for this image: float32 was used.")
            # For this image only: what a case gives must not depend on the cases before it.
            half, self._half = self._half, False
            try:
                blended = self._blended(padded, _Passes(self._settings, self._exact, None), notes)
            finally:
                self._half = half
        inside = [slice(before, before + n) for (before, _), n in zip(pads, shape, strict=True)]
        result: NDArray[np.float32] = blended[(slice(None), *inside)].cpu().numpy()
        return np.ascontiguousarray(result)

    def _blended(
        self, image: NDArray[np.float32], passes: _Passes, notes: list[str]
    ) -> torch.Tensor:
        """Return probabilities, shape (classes, slices, rows, columns), on the device."""
        settings = self._settings
        indices = tiling.windows(image.shape[1:], settings.size, settings.overlap)
        only_air = False
        if settings.air is not None:
            occupied = tiling.occupied(image, indices, settings.air)
            only_air = not occupied
            # One window is always computed: it says how many classes there are.
            indices = occupied or indices[:1]
        outputs = self._outputs(sent(image, self._device), indices, passes, notes)
        first = next(outputs)
        total = torch.zeros((len(first[1]), *image.shape[1:]), device=self._device)
        covered = torch.zeros(image.shape[1:], device=self._device)
        for index, output in chain([first], outputs):
            total[(slice(None), *index)].addcmul_(output, self._weights)
            covered[index].add_(self._weights)
        left_out = covered == 0
        if only_air:
            left_out.fill_(True)
        total /= covered.masked_fill_(left_out, 1)
        blended = settings.probabilities(total, 0).masked_fill_(left_out, 0)
        if settings.activation == "softmax":
            blended[0].masked_fill_(left_out, 1)
        return blended

    def _outputs(
        self,
        image: torch.Tensor,
        indices: Sequence[tiling.Index],
        passes: _Passes,
        notes: list[str],
    ) -> Iterator[tuple[tiling.Index, torch.Tensor]]:
        """Yield each window with what the network says of it, until a pass fails."""
        done = 0
        while done < len(indices):
            part = indices[done : done + self._batch]
            outputs = self._fitting(image, part, passes)
            if outputs is None:
                self._batch = max(len(part) // 2, 1)
                notes.append(
                    f"{self._device} ran out of memory with {len(part)} windows at a time; went"
                    f" on with {self._batch}."
                )
                continue
            yield from zip(part, outputs, strict=True)
            if passes.failed:
                return
            done += len(part)

    def _fitting(
        self, image: torch.Tensor, part: Sequence[tiling.Index], passes: _Passes
    ) -> torch.Tensor | None:
        """Return the outputs of some windows; None if they are too many for the memory."""
        try:
            stacked = torch.stack([image[(slice(None), *index)] for index in part])
            with torch.autocast(self._device.type, torch.float16, enabled=self._half):
                return passes.outputs(stacked.to(memory_format=torch.channels_last_3d)).float()
        except RuntimeError as error:
            if len(part) == 1 or not is_out_of_memory(error):
                raise
        return None


class _Passes:
    """Which network computes the next windows: the rough one, the exact one, or both.

    Windows come in order, so that a window near one in which something was seen goes to the
    exact network at once. Where something is seen nearly everywhere the rough network costs more
    than it saves and is given up. Whatever both have computed is compared.
    """

    def __init__(self, settings: SlidingWindow, exact: nn.Module, rough: nn.Module | None):
        self._settings = settings
        self._exact = exact
        self._rough = rough
        self._compared = False
        self._near = False
        self._credit = _ROUGH_CREDIT
        #: Did the rough network contradict the exact one?
        self.failed = False

    def outputs(self, windows: torch.Tensor) -> torch.Tensor:
        """Return the outputs for windows, shape (windows, classes, slices, rows, columns)."""
        if self._rough is None or self._credit <= 0:
            return self._compute(windows)
        if self._near:
            return self._watched(self._compute(windows))
        rough = self._roughly(self._rough, windows)
        self._credit -= _ROUGH_COST
        if rough is not None and self._compared and self._sees_nothing(rough):
            self._credit += 1
            return rough
        exact = self._watched(self._compute(windows))
        self.failed = rough is None or self._differs(rough, exact)
        self._compared = True
        return exact

    def _compute(self, windows: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self._exact(windows)
        return output

    def _roughly(self, network: nn.Module, windows: torch.Tensor) -> torch.Tensor | None:
        """Return the rough outputs; None if a layer does not know bfloat16."""
        try:
            output: torch.Tensor = network(windows.bfloat16()).float()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            return None
        return output

    def _watched(self, output: torch.Tensor) -> torch.Tensor:
        self._near = not self._sees_nothing(output)
        return output

    def _sees_nothing(self, output: torch.Tensor) -> bool:
        """Return whether no class but the background reaches `sure_below` anywhere."""
        if self._settings.activation == "sigmoid":
            highest = output.amax().sigmoid()
        else:
            highest = output.softmax(1)[:, 1:].amax()
        return bool(highest < self._settings.sure_below)

    def _differs(self, rough: torch.Tensor, exact: torch.Tensor) -> bool:
        probabilities = self._settings.probabilities
        near = (probabilities(rough, 1) - probabilities(exact, 1)).abs() <= _ROUGH_TOLERANCE
        return not bool(near.float().mean() >= 1 - _ROUGH_SHARE)  # not a number is not near


def _batch_on_cpu(size: tuple[int, int, int]) -> int:
    """Return how many windows are quickest: a small one alone meets a slow layer of PyTorch."""
    return 2 if np.prod(size) < _SMALL else 1
