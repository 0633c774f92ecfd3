"""Networks as plugins build them, and their weights from files. PyTorch and MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from monai.networks.nets.unet import UNet
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from node.errors import ManifestError


def unet(
    *,
    inputs: int = 1,
    outputs: int = 1,
    channels: Sequence[int] = (16, 32, 64, 128),
    strides: Sequence[int] = (2, 2, 2),
    residual_units: int = 2,
    dropout: float = 0.0,
) -> nn.Module:
    """Return MONAI's 3D U-Net with residual units, instance normalisation and PReLU.

    Parameters
    ----------
    inputs, outputs : int
        Channels of the image; classes. With the defaults 1.19 million weights.
    channels : Sequence of int
        Of each level, from the finest to the coarsest.
    strides : Sequence of int
        Between the levels, one fewer. A window must be divisible by their product.
    residual_units : int
        Convolutions of a residual unit; 0: none.
    dropout : float
        From 0 to below 1, while it learns.
    """
    return UNet(
        spatial_dims=3,
        in_channels=inputs,
        out_channels=outputs,
        channels=tuple(channels),
        strides=tuple(strides),
        num_res_units=residual_units,
        norm="instance",
        act="prelu",
        dropout=dropout,
    )


def load_weights(network: nn.Module, path: Path) -> None:
    """Read all weights of `network` from a safetensors file; float16 becomes float32.

    Raises
    ------
    ManifestError
        If the file cannot be read, lacks a weight, holds another one, or has another shape.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ManifestError(f"{path.name} is no file of weights: {error}") from error
    wanted = network.state_dict()
    for name in sorted(wanted.keys() | stored.keys()):
        if name not in stored:
            raise ManifestError(f"{path.name} lacks the weights {name} of the network")
        if name not in wanted:
            raise ManifestError(f"{path.name} holds {name}, which the network does not have")
        if stored[name].shape != wanted[name].shape:
            raise ManifestError(
                f"{path.name} holds {name} of shape {tuple(stored[name].shape)}, the network"
                f" {tuple(wanted[name].shape)}"
            )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(stored[name])
