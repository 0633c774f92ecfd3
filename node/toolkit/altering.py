"""Images as another scanner and another hand would have made them, for training. PyTorch, 2-D.

All chance is torch's. Tensors are (images, channels, rows, columns), grey values from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

#: Of the noise, and how much stronger it is drawn: the mean of nine pixels is three times weaker.
_COARSE, _COARSE_GAIN = 0.6, 2.5
#: Of a hole: by how much, as a power of e, it may be longer than wide; its grey values, fat to
#: water in a window of soft tissue.
_LONGER, _HOLE_GREY = 0.7, (0.1, 0.4)


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """How much images are altered at most; each image is drawn by itself.

    Attributes
    ----------
    turn_deg : float
        To either side. Half of the images are mirrored along each axis as well.
    move, stretch : float
        To either side, as shares of the image's side.
    sharpness : float
        Share of the fine detail that is added or taken away.
    noise : float
        Standard deviation, as a share of the grey scale.
    gain, shift : float
        Standard deviations of contrast and brightness, as shares of the grey scale.
    """

    turn_deg: float = 15.0
    move: float = 0.06
    stretch: float = 0.05
    sharpness: float = 0.6
    noise: float = 0.05
    gain: float = 0.1
    shift: float = 0.04


def moved(images: Any, how: Alteration) -> Any:
    """Return images turned, mirrored, stretched and moved, all channels of one alike.

    Beyond the border its pixels go on.
    """
    ways = ways_of(len(images), how).to(images.device)
    grid = functional.affine_grid(ways, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def ways_of(count: int, how: Alteration) -> Any:
    """Return random maps of the plane for `affine_grid`: float32, shape (count, 2, 3)."""
    turn = torch.deg2rad(torch.empty(count).uniform_(-how.turn_deg, how.turn_deg))
    size = torch.empty(count).uniform_(1 - how.stretch, 1 + how.stretch)
    flip = torch.randint(0, 2, (2, count)).float() * 2 - 1
    # A side is 2 long in these coordinates.
    move = torch.empty(count, 2).uniform_(-2 * how.move, 2 * how.move)
    cos, sin = torch.cos(turn), torch.sin(turn)
    rows = torch.stack([cos * flip[0], -sin * flip[1], move[:, 0] / size])
    columns = torch.stack([sin * flip[0], cos * flip[1], move[:, 1] / size])
    return torch.stack([rows, columns], dim=0).permute(2, 0, 1) * size[:, None, None]


def scanned(images: Any, how: Alteration) -> Any:
    """Return images with another sharpness, noise (fine or coarse) and grey scale."""
    one = {"size": (len(images), 1, 1, 1), "device": images.device}
    smooth = functional.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    sharper = torch.empty(**one).uniform_(-how.sharpness, how.sharpness)
    images = images + sharper * (images - smooth)
    grain = torch.randn_like(images)
    coarse = functional.avg_pool2d(grain, 3, stride=1, padding=1) * _COARSE_GAIN
    grain = torch.where(torch.rand(**one) < _COARSE, coarse, grain)
    images = images + grain * torch.empty(**one).uniform_(0, how.noise)
    gain = 1 + how.gain * torch.randn(**one)
    shift = how.shift * torch.randn(**one)
    return ((images - 0.5) * gain + 0.5 + shift).clamp(0, 1)


def erased(images: Any, *, chance: float, share: float) -> Any:
    """Return images of which some have a hole: a rectangle of one grey value.

    Parameters
    ----------
    images : tensor
    chance : float
        Share of the images that have one.
    share : float
        Greatest share of an image that the hole takes.
    """
    count, _, rows, columns = images.shape
    like = {"device": images.device}
    area = torch.empty(count, **like).uniform_(0, share)
    longer = torch.empty(count, **like).uniform_(-_LONGER, _LONGER).exp()
    sides = ((area * longer).sqrt(), (area / longer).sqrt())
    inside = []
    for pixels, side in zip((rows, columns), sides, strict=True):
        middle = torch.rand(count, **like)
        at = (torch.arange(pixels, **like) + 0.5) / pixels
        inside.append((at - middle[:, None]).abs() < side[:, None] / 2)
    hole = inside[0][:, :, None] & inside[1][:, None, :]
    hole &= (torch.rand(count, **like) < chance)[:, None, None]
    grey = torch.empty(count, 1, 1, 1, **like).uniform_(*_HOLE_GREY)
    return torch.where(hole[:, None], grey, images)
