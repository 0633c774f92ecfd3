"""Layers of a 3D network that compute the same faster on a CPU.

PyTorch 2.13 computes most 3D convolutions of a single float32 image by a slow general method, and
instance normalisation as a batch normalisation of copies. Here convolutions always go through
oneDNN, with channels last in memory, and nothing is copied to be normalised.
"""

from __future__ import annotations

import copy
from itertools import product
from typing import Any

import torch
from torch import nn
from torch.nn import functional

#: Channels, above which a doubling as one convolution costs more than it saves.
_FEW = 2
#: Voxels, below which the kernel of group normalisation is slow in bfloat16.
_LARGE = 4096


def cpu_copy(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a copy of `network` for inference on the CPU, with faster layers where we have them.

    The result equals that of `network` in evaluation mode up to rounding. Layers that we do not
    know stay what they are.

    Parameters
    ----------
    network : Module
        Stays as it is.
    dtype : float32 or bfloat16
        Of its weights and of what it computes.
    """
    quick = copy.deepcopy(network).to("cpu", torch.float32).eval()
    quick = _replace(quick).to(dtype)
    return quick.requires_grad_(False)


def _replace(module: nn.Module) -> nn.Module:
    """Return `module` with each layer that we know replaced; by type, subclasses may differ."""
    faster = _faster(module)
    if faster is not None:
        return faster
    for name, child in module.named_children():
        setattr(module, name, _replace(child))
    return module


def _faster(module: nn.Module) -> nn.Module | None:
    if type(module) is nn.Conv3d and module.padding_mode == "zeros":
        if isinstance(module.padding, str):
            return None
        return _OneToOne(module) if _is_one_to_one(module) else _Convolution(module)
    if type(module) is nn.ConvTranspose3d and _doubles(module):
        return _Doubling(module)
    if type(module) is nn.InstanceNorm3d and not module.track_running_stats:
        return _InstanceNorm(module)
    return None


class _Convolution(nn.Module):
    """A convolution by oneDNN, whatever PyTorch would choose."""

    def __init__(self, layer: nn.Conv3d):
        super().__init__()
        self.weight = layer.weight
        self.bias = layer.bias
        self.how: Any = (layer.padding, layer.stride, layer.dilation, layer.groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = x.to(memory_format=torch.channels_last_3d)
        return torch.mkldnn_convolution(last, self.weight, self.bias, *self.how)


def _is_one_to_one(layer: nn.Conv3d) -> bool:
    return (
        layer.in_channels == layer.out_channels == 1
        and set(layer.stride) == {1}
        and set(layer.dilation) == {1}
    )


class _OneToOne(nn.Module):
    """A convolution of one channel to one, as a sum of shifted images; always in float32."""

    def __init__(self, layer: nn.Conv3d):
        super().__init__()
        weights = layer.weight.detach()[0, 0]
        padding: Any = layer.padding
        self.kernel = [
            (index, float(weights[index]))
            for index in product(*(range(length) for length in weights.shape))
        ]
        self.bias = 0.0 if layer.bias is None else float(layer.bias.detach())
        self.padding = [p for both in reversed(padding) for p in (both, both)]
        self.loss = [int(k) - 1 for k in weights.shape]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(x.float().contiguous(), self.padding)
        shape = [n - loss for n, loss in zip(padded.shape[2:], self.loss, strict=True)]
        total = torch.full((x.shape[0], 1, *shape), self.bias, dtype=torch.float32)
        for index, weight in self.kernel:
            part = [slice(a, a + n) for a, n in zip(index, shape, strict=True)]
            total.add_(padded[(slice(None), slice(None), *part)], alpha=weight)
        return total.to(x.dtype)


def _doubles(layer: nn.ConvTranspose3d) -> bool:
    """Return whether it doubles a grid (kernel 3, stride 2, padding 1) into one or two channels."""
    return (
        set(layer.kernel_size) == {3}
        and set(layer.stride) == {2}
        and set(layer.padding) == {1}
        and set(layer.output_padding) == {1}
        and set(layer.dilation) == {1}
        and layer.groups == 1
        and layer.out_channels <= _FEW  # for more of them the products with 0 cost too much
    )


class _Doubling(nn.Module):
    """A transposed convolution that doubles a grid, as a convolution to eight images.

    Along an axis, output 2i is input i times the middle weight; output 2i+1 is input i times the
    last and input i+1 times the first.
    """

    def __init__(self, layer: nn.ConvTranspose3d):
        super().__init__()
        given = layer.weight.detach().transpose(0, 1)  # (outputs, inputs, d, h, w)
        outputs, inputs = given.shape[:2]
        weight = torch.zeros(2, 2, 2, outputs, inputs, 2, 2, 2)
        taps = (((0, 1),), ((0, 2), (1, 0)))  # by even, odd: (input i or i + 1, weight)
        for place in product((0, 1), repeat=3):
            for d, h, w in product(*(taps[odd] for odd in place)):
                into: Any = (*place, ..., d[0], h[0], w[0])
                weight[into] = given[..., d[1], h[1], w[1]]
        self.weight = nn.Parameter(weight.reshape(8 * outputs, inputs, 2, 2, 2))
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().repeat(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, *shape = x.shape
        padded = functional.pad(x.to(memory_format=torch.channels_last_3d), (0, 1) * 3)
        one = (1, 1, 1)
        eight = torch.mkldnn_convolution(padded, self.weight, self.bias, (0, 0, 0), one, one, 1)
        parts = eight.reshape(batch, 2, 2, 2, -1, *shape).permute(0, 4, 5, 1, 6, 2, 7, 3)
        return parts.reshape(batch, parts.shape[1], *(2 * n for n in shape))


class _InstanceNorm(nn.Module):
    """Instance normalisation without copies of the image."""

    def __init__(self, layer: nn.InstanceNorm3d):
        super().__init__()
        self.weight: Any = layer.weight
        self.bias: Any = layer.bias
        self.eps = layer.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[1]
        if channels == 1:
            # Where the order is the same, the kernel for channels last is 50 times slower.
            flat = x.reshape(x.shape[0], 1, -1)
            return functional.group_norm(flat, 1, self.weight, self.bias, self.eps).view(x.shape)
        if x.dtype != torch.float32 and x[0, 0].numel() >= _LARGE:
            return functional.group_norm(x, channels, self.weight, self.bias, self.eps)
        # The kernel of group normalisation subtracts the squares of large sums: 4 digits only.
        values = x.float()
        centred = values - values.mean((2, 3, 4), keepdim=True)
        variance = (centred * centred).mean((2, 3, 4), keepdim=True)
        centred.mul_(variance.add_(self.eps).rsqrt_())
        if self.weight is not None:
            shape = (1, channels, 1, 1, 1)
            centred.mul_(self.weight.view(shape)).add_(self.bias.view(shape))
        return centred.to(x.dtype)
