"""Weights go into a network whole, or not at all."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from safetensors.torch import save_file  # noqa: E402

from node.errors import ManifestError  # noqa: E402
from node.toolkit.networks import (  # noqa: E402
    CLASSIFIERS,
    cam_layer,
    classifier,
    load_weights,
    unet,
    without_head,
)
from node.toolkit.training import tensors_of, write_weights  # noqa: E402


def small(outputs=1):
    return unet(outputs=outputs, channels=(2, 4), strides=(2,), residual_units=1)


def test_the_default_network_has_the_size_that_is_said():
    assert sum(p.numel() for p in unet().parameters()) == 1_185_818


def test_weights_stored_in_half_precision_become_float32(tmp_path):
    torch.manual_seed(0)
    stored = {name: tensor.half() for name, tensor in small().state_dict().items()}
    save_file(stored, tmp_path / "w.safetensors")
    network = small()

    load_weights(network, tmp_path / "w.safetensors")

    for name, tensor in network.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, stored[name].float())


def changed(state, how):
    name = sorted(state)[0]
    if how == "lacks":
        del state[name]
    elif how == "holds other":
        state["other"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(7)
    return state


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("lacks", "lacks the weights"),
        ("holds other", "holds other, which the network does not have"),
        ("shape", r"of shape \(7,\), the network \("),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path, how, sentence):
    save_file(changed(dict(small().state_dict()), how), tmp_path / "w.safetensors")
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    with pytest.raises(ManifestError, match=sentence):
        load_weights(network, tmp_path / "w.safetensors")

    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


@pytest.mark.parametrize("content", [None, b"", b"not a file of weights"])
def test_a_file_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ManifestError, match=r"w\.safetensors is no file of weights"):
        load_weights(small(), path)


def weights_of(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("densenet121", 6_948_609),
        ("resnet18", 11_170_753),
        ("resnet50", 23_503_809),
        ("resnet152", 58_139_585),
        ("efficientnet-b0", 4_008_253),
    ],
)
def test_the_full_networks_are_the_published_ones(name, published):
    """torchvision's, with one channel in and one number out."""
    assert weights_of(classifier(name)) == published


def test_a_narrow_network_is_small_enough_to_ship():
    assert weights_of(classifier("densenet121", width=0.375)) < 1_100_000
    assert weights_of(classifier("resnet18", width=0.25)) < 750_000


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("name", ["densenet121", "resnet18", "resnet50", "efficientnet-b0"])
def test_every_family_reads_back_its_weights_in_both_dimensions(tmp_path, name, dimensions):
    torch.manual_seed(1)
    network = classifier(name, inputs=2, outputs=3, dimensions=dimensions, width=0.125).eval()
    write_weights(tmp_path / "w.safetensors", tensors_of(network, half=True))
    again = classifier(name, inputs=2, outputs=3, dimensions=dimensions, width=0.125).eval()

    load_weights(again, tmp_path / "w.safetensors")

    image = torch.rand((2, 2, *[64] * dimensions))
    with torch.no_grad():
        said, expected = again(image), network(image)
    assert said.shape == (2, 3)
    assert said == pytest.approx(expected, abs=2e-2)


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "efficientnet-b0"])
def test_a_branch_gives_features_and_keeps_its_layer_for_grad_cam(name):
    branch, count = without_head(name, classifier(name, width=0.125))

    with torch.no_grad():
        features = branch.eval()(torch.rand((1, 1, 64, 64)))

    assert features.shape == (1, count)
    branch.get_submodule(cam_layer(name))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_name_has_a_layer(name):
    assert cam_layer(name)


def test_what_is_no_network_is_said():
    with pytest.raises(ValueError, match="no network 'vgg16'; take one of densenet121"):
        classifier("vgg16")
    with pytest.raises(ValueError, match="cannot be made"):
        classifier("resnet18", dimensions=4)
