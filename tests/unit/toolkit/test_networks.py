"""Weights go into a network whole, or not at all."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from safetensors.torch import save_file  # noqa: E402

from node.errors import ManifestError  # noqa: E402
from node.toolkit.networks import load_weights, unet  # noqa: E402


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
