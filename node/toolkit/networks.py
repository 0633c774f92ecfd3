"""Networks as plugins build them, and their weights from files. PyTorch and MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets.densenet import DenseNet
from monai.networks.nets.efficientnet import EfficientNet, efficientnet_params
from monai.networks.nets.resnet import ResNet
from monai.networks.nets.unet import UNet
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from node.errors import ManifestError

_RESNETS: dict[str, tuple[str, list[int]]] = {
    "resnet18": ("basic", [2, 2, 2, 2]),
    "resnet50": ("bottleneck", [3, 4, 6, 3]),
    "resnet152": ("bottleneck", [3, 8, 36, 3]),
}
_EFFICIENTNETS = tuple(f"efficientnet-b{number}" for number in range(8))
#: Names that `classifier` knows.
CLASSIFIERS = ("densenet121", *_RESNETS, *_EFFICIENTNETS)
#: Stages of EfficientNet (Tan and Le 2019, table 1): repeats, kernel, stride, expansion, channels.
STAGES = [
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
]


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


def classifier(
    name: str,
    *,
    inputs: int = 1,
    outputs: int = 1,
    dimensions: int = 2,
    width: float = 1.0,
    dropout: float = 0.0,
) -> nn.Module:
    """Return a network of MONAI that makes numbers (logits) of an image.

    Weights are random: none come from ImageNet.

    Parameters
    ----------
    name : str
        One of `CLASSIFIERS`.
    inputs, outputs : int
        Channels of the image; numbers that come out, 1 for yes or no.
    dimensions : 2 or 3
        Of the image without its channels.
    width : float
        Multiplies the channels of every layer: 1 is the published network, 0.375 of DenseNet121
        has 1.0 million weights.
    dropout : float
        From 0 to below 1, while it learns. ResNet has none.

    Raises
    ------
    ValueError
        If the name is not known, or `width` leaves nothing.
    """
    if name not in CLASSIFIERS:
        raise ValueError(f"there is no network {name!r}; take one of {', '.join(CLASSIFIERS)}")
    if dimensions not in (2, 3) or not width > 0.0:
        raise ValueError(f"a network of {dimensions} dimensions and width {width:g} cannot be made")
    if name in _RESNETS:
        return _resnet(name, inputs, outputs, dimensions, width)
    if name in _EFFICIENTNETS:
        return _efficientnet(name, inputs, outputs, dimensions, width, dropout)
    return DenseNet(
        spatial_dims=dimensions,
        in_channels=inputs,
        out_channels=outputs,
        init_features=_scaled(64, width),
        growth_rate=_scaled(32, width),
        block_config=(6, 12, 24, 16),
        dropout_prob=dropout,
    )


def cam_layer(name: str) -> str:
    """Return the layer whose output Grad-CAM looks at: the last one that still has places.

    Examples
    --------
    >>> cam_layer("densenet121"), cam_layer("resnet18"), cam_layer("efficientnet-b0")
    ('features.norm5', 'layer4', '_bn1')
    """
    if name not in CLASSIFIERS:
        raise ValueError(f"there is no network {name!r}; take one of {', '.join(CLASSIFIERS)}")
    if name in _RESNETS:
        return "layer4"
    return "_bn1" if name in _EFFICIENTNETS else "features.norm5"


def without_head(name: str, network: nn.Module) -> tuple[nn.Module, int]:
    """Return a network of `classifier` that gives its last features, and how many they are.

    For a network of several branches, joined by a head of your own. The network is changed.
    """
    parent, attribute = (
        (getattr(network, "class_layers", None), "out")
        if name == "densenet121"
        else (network, "fc" if name in _RESNETS else "_fc")
    )
    head = getattr(parent, attribute, None)
    if not isinstance(head, nn.Linear):
        raise ValueError(f"the network has no last layer like that of {name}")
    count = int(head.in_features)
    setattr(parent, attribute, nn.Identity())
    return network, count


def _resnet(name: str, inputs: int, outputs: int, dimensions: int, width: float) -> nn.Module:
    block, layers = _RESNETS[name]
    return ResNet(
        block=block,
        layers=layers,
        block_inplanes=[_scaled(channels, width) for channels in (64, 128, 256, 512)],
        spatial_dims=dimensions,
        n_input_channels=inputs,
        num_classes=outputs,
        conv1_t_stride=2,  # as published; MONAI's own default of 1 is for small volumes
        bias_downsample=False,
    )


def _efficientnet(
    name: str, inputs: int, outputs: int, dimensions: int, width: float, dropout: float
) -> nn.Module:
    wide, deep, side, _, drop_connect = efficientnet_params[name]
    return EfficientNet(
        blocks_args_str=STAGES,
        spatial_dims=dimensions,
        in_channels=inputs,
        num_classes=outputs,
        width_coefficient=wide * width,
        depth_coefficient=deep,
        dropout_rate=dropout,
        image_size=side,
        drop_connect_rate=drop_connect if dropout else 0.0,
    )


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


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
    wanted: dict[str, Any] = network.state_dict()
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
