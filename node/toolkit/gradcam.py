"""Grad-CAM: which part of its input a number of a network hangs on. PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from node.errors import ResultInvalid
from node.toolkit.devices import is_out_of_memory
from node.toolkit.masks import checked_mask

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grad_cam(
    network: nn.Module,
    *inputs: Any,
    layer: str,
    output: int = 0,
    toward: Literal[1, -1] | None = 1,
    size: tuple[int, ...] | None = None,
    mirrored: Sequence[Sequence[int]] = ((),),
) -> NDArray[np.float32]:
    """Return the heat of each place: features weighted by their mean gradient, what is above 0.

    Computed in evaluation mode; the network, its gradients and its mode stay as they are.

    Parameters
    ----------
    network : Module
        Makes (images, outputs) of the inputs; it sees all mirror images of the one at once.
    inputs : tensors, shape (1, channels, ...)
        What it is called with.
    layer : str
        Name of a module of it, dots between levels: `networks.cam_layer` tells the usual one,
        ``branches.0.layer4`` that of a branch.
    output : int
        Which number is explained.
    toward : 1, -1 or None
        What speaks for a high number, or for a low one; None: for what it says, by the sign of
        the number. Of a case that a network calls negative, little speaks for a high number.
    size : tuple of int or None
        Of the map; None: that of the first input. It is enlarged linearly.
    mirrored : sequence of sequences of int
        Along which axes the inputs are mirrored; the heat is the mean of all, mirrored back. For
        a plugin whose answer is such a mean: ``((), (2,), (3,), (2, 3))``.

    Returns
    -------
    float32, shape `size`
        From 0 to 1; `crops.Place.to_source` puts it onto the grid of the volume.

    Raises
    ------
    ResultInvalid
        If no place speaks for it (the map is 0 everywhere) or a value is not finite.
    ValueError
        If the network has no such layer or output, the layer's output has no places, `toward`
        is another value, there is no input, or PyTorch cannot run the network on it or find the
        gradient: an image too small or of whole numbers, weights made in inference mode. Memory
        that ran out stays PyTorch's error.

    References
    ----------
    Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74.
    """
    heat, _ = explained(
        network,
        *inputs,
        layer=layer,
        output=output,
        toward=toward,
        size=size,
        mirrored=mirrored,
    )
    return heat


def explained(
    network: nn.Module,
    *inputs: Any,
    layer: str,
    output: int = 0,
    toward: Literal[1, -1] | None = 1,
    size: tuple[int, ...] | None = None,
    mirrored: Sequence[Sequence[int]] = ((),),
) -> tuple[NDArray[np.float32], float]:
    """Return what `grad_cam` returns, and the number that it explains, from one pass.

    Of several mirror images the number is their mean.
    """
    if toward not in (1, -1, None):
        raise ValueError(f"toward is {toward!r}; 1, -1 or None")
    if not inputs:
        raise ValueError("Grad-CAM needs an image; give what the network is called with")
    if len(inputs[0]) != 1:
        raise ValueError(f"Grad-CAM explains one image at a time, not {len(inputs[0])}")
    wanted = tuple(inputs[0].shape[2:]) if size is None else size
    with _said_of(inputs):
        batch = [torch.cat([one.flip(tuple(axes)) for axes in mirrored]) for one in inputs]
        features, numbers = _forward(network, batch, layer, output)
        number = float(numbers.detach().mean())
        if toward is None:
            toward = 1 if number >= 0.0 else -1
        heats = _heats(features, numbers, toward, wanted)
    if heats is None:
        raise ValueError(f"output {output} does not hang on {layer}")
    back = [heat.flip(tuple(axes)) for heat, axes in zip(heats.split(1), mirrored, strict=True)]
    found: NDArray[np.float32] = (sum(back) / len(back))[0, 0].cpu().numpy()
    return _scaled(found, layer, toward), number


@contextmanager
def _said_of(inputs: Sequence[Any]) -> Iterator[None]:
    """Make what PyTorch cannot compute of these inputs a ValueError that says which they are."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):  # the node tells it from a fault by its type and words
            raise
        shown = " and ".join(
            f"{str(one.dtype).removeprefix('torch.')} {tuple(one.shape)}" for one in inputs
        )
        raise ValueError(f"Grad-CAM cannot be computed of an input of {shown}: {error}") from error


def _heats(features: Any, numbers: Any, toward: int, size: tuple[int, ...]) -> Any | None:
    """Return the heat of each image, shape (images, 1, *size); None if nothing hangs on them."""
    with torch.inference_mode(False), torch.enable_grad():
        # Of the sum: in evaluation mode an image's number hangs on that image alone.
        score = toward * numbers.sum()
        (gradient,) = torch.autograd.grad(score, features, allow_unused=True)
    if gradient is None:
        return None
    places = tuple(range(2, features.ndim))
    weights = gradient.mean(dim=places, keepdim=True)
    heat = functional.relu((weights * features.detach()).sum(dim=1, keepdim=True))
    return functional.interpolate(
        heat.float(), size=size, mode=_MODES[len(places)], align_corners=False
    )


def concentration(heat: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return how much more heat a region has than its area would bring; 1: no more.

    Parameters
    ----------
    heat : float32, any shape
        Of `grad_cam`.
    mask : bool, same shape

    Raises
    ------
    ValueError
        If the region or the heat is empty, their shapes differ, or the region is no mask.

    Examples
    --------
    >>> concentration(np.float32([0, 1, 3, 0]), np.array([False, False, True, False]))
    3.0
    """
    region = checked_mask(mask, axes=None)
    if heat.shape != region.shape or not region.any() or not heat.sum() > 0:
        raise ValueError("heat and region must have the same shape, and both hold something")
    return float(heat[region].sum() / heat.sum() / region.mean())


def hottest(heat: NDArray[np.float32], share: float) -> NDArray[np.bool_]:
    """Return the hottest places, `share` of all; of equal ones the first.

    Examples
    --------
    >>> hottest(np.float32([0.1, 0.9, 0.0, 0.4]), 0.5).tolist()
    [False, True, False, True]
    """
    chosen = np.zeros(heat.size, np.bool_)
    order = np.argsort(-heat.reshape(-1), kind="stable")
    chosen[order[: round(share * heat.size)]] = True
    return chosen.reshape(heat.shape)


def _forward(network: nn.Module, inputs: Sequence[Any], layer: str, output: int) -> tuple[Any, Any]:
    """Return the layer's output, with a gradient, and the number of each image."""
    kept: list[Any] = []

    def keep(_module: nn.Module, _given: Any, made: Any) -> Any:
        # A copy with a gradient of its own: layers after it may work in place, and frozen
        # weights before it would leave it without one.
        kept.append(made.detach().clone().requires_grad_())
        return kept[-1].clone()

    try:
        module = network.get_submodule(layer)
    except AttributeError as error:
        names = [name for name, _ in network.named_modules() if name]
        raise ValueError(
            f"the network has no layer {layer!r}; the last are {names[-5:]}"
        ) from error
    modes = {name: part.training for name, part in network.named_modules()}
    hook = module.register_forward_hook(keep)
    try:
        network.eval()
        # A plugin may run in inference mode, whose tensors have no gradients.
        with torch.inference_mode(False), torch.enable_grad():
            made = network(*(one.clone() for one in inputs))
            said = made.reshape(len(inputs[0]), -1)
            if not 0 <= output < said.shape[1]:
                raise ValueError(f"the network has {said.shape[1]} outputs, and no {output}")
            numbers = said[:, output]
    finally:
        hook.remove()
        for name, part in network.named_modules():
            part.training = modes[name]
    if len(kept) != 1 or kept[0].ndim not in (3, 4, 5) or len(kept[0]) != len(inputs[0]):
        shapes = [tuple(one.shape) for one in kept]
        raise ValueError(
            f"layer {layer} gave {shapes}; Grad-CAM needs one (images, channels, places…)"
        )
    return kept[0], numbers


def _scaled(heat: NDArray[np.float32], layer: str, toward: int) -> NDArray[np.float32]:
    if not np.isfinite(heat).all():
        raise ResultInvalid(f"the Grad-CAM of layer {layer} is not finite; look at the weights")
    greatest = float(heat.max())
    if greatest <= 0.0:
        raise ResultInvalid(
            f"the Grad-CAM of layer {layer} is 0 everywhere: nothing in the image speaks for a "
            f"{'high' if toward > 0 else 'low'} value; no map can be shown"
        )
    scaled: NDArray[np.float32] = heat / np.float32(greatest)
    return scaled
