"""Grad-CAM of a network whose answer is known by hand, and of those of the toolkit."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("monai")

from torch import nn  # noqa: E402

from node.errors import ResultInvalid  # noqa: E402
from node.toolkit.gradcam import concentration, explained, grad_cam, hottest  # noqa: E402
from node.toolkit.networks import cam_layer, classifier  # noqa: E402


class Bright(nn.Module):
    """Says the mean of what is bright, minus the mean of what is dark."""

    def __init__(self, dimensions=2):
        super().__init__()
        kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.features = kind(1, 2, 1, bias=False)
        self.features.weight.data = torch.tensor([1.0, -1.0]).reshape(self.features.weight.shape)
        self.head = nn.Linear(2, 1, bias=False)
        self.head.weight.data = torch.tensor([[1.0, -1.0]])

    def forward(self, x):
        seen = nn.functional.relu(self.features(x), inplace=True)
        return self.head(seen.flatten(2).mean(dim=2))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_heat_is_where_the_number_comes_from(dimensions):
    image = torch.zeros((1, 1, *[8] * dimensions))
    image[..., 1:3, 1:3] = 2.0
    image[..., 5:7, 5:7] = -1.0
    network = Bright(dimensions)

    toward = grad_cam(network, image, layer="features")
    away = grad_cam(network, image, layer="features", toward=-1)

    assert toward.shape == image.shape[2:] and toward.dtype == np.float32
    assert (toward[..., 1:3, 1:3] == 1.0).all() and toward.sum() == (toward == 1.0).sum()
    assert (away[..., 5:7, 5:7] > 0).all() and away[..., 1:3, 1:3].max() == 0


def test_what_is_explained_comes_with_the_heat():
    image = torch.rand((1, 1, 8, 8))
    network = Bright()

    heat, number = explained(network, image, layer="features")

    assert number == pytest.approx(network(image).item(), abs=1e-6)
    assert np.array_equal(heat, grad_cam(network, image, layer="features"))


def test_heat_of_mirror_images_is_laid_back_and_averaged():
    torch.manual_seed(0)
    network, image = classifier("resnet18", width=0.125).eval(), torch.rand((1, 1, 32, 32))
    layer = "layer2"

    both, number = explained(network, image, layer=layer, mirrored=((), (3,)))
    turned, same = explained(network, image.flip(3), layer=layer, mirrored=((), (3,)))

    assert np.allclose(both, turned[:, ::-1], atol=1e-5) and number == pytest.approx(same, abs=1e-7)
    logits = [network(one).item() for one in (image, image.flip(3))]
    assert number == pytest.approx(np.mean(logits), abs=1e-5)
    assert not np.allclose(both, grad_cam(network, image, layer=layer), atol=1e-3)


def test_the_network_stays_as_it_was_and_inference_mode_does_no_harm():
    network = Bright().train()
    network.head.requires_grad_(False)
    image = torch.rand((1, 1, 6, 6))
    expected = grad_cam(network, image, layer="features")

    with torch.inference_mode():
        inside = grad_cam(network, torch.rand((1, 1, 6, 6)) * 0 + image, layer="features")

    assert np.array_equal(inside, expected)
    assert network.training and network.features.weight.grad is None
    assert not network.features._forward_hooks


def test_a_map_of_zeros_is_an_error_with_a_sentence():
    with pytest.raises(ResultInvalid, match="0 everywhere: nothing in the image speaks for a high"):
        grad_cam(Bright(), torch.zeros((1, 1, 4, 4)), layer="features")


def test_values_that_are_none_are_an_error():
    with pytest.raises(ResultInvalid, match="not finite"):
        grad_cam(Bright(), torch.full((1, 1, 4, 4), np.nan), layer="features")


def test_a_layer_that_is_not_there_or_has_no_places_is_said():
    with pytest.raises(
        ValueError, match=r"no layer 'nowhere'; the last are \['features', 'head'\]"
    ):
        grad_cam(Bright(), torch.ones((1, 1, 4, 4)), layer="nowhere")
    with pytest.raises(ValueError, match="one image at a time, not 2"):
        grad_cam(Bright(), torch.ones((2, 1, 4, 4)), layer="features")
    with pytest.raises(ValueError, match="one \\(images, channels"):
        grad_cam(Bright(), torch.ones((1, 1, 4, 4)), layer="head")


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "efficientnet-b0"])
def test_every_family_has_a_layer_for_it(name):
    torch.manual_seed(0)
    network = classifier(name, width=0.125)

    found = grad_cam(
        network, torch.rand((1, 1, 64, 64)), layer=cam_layer(name), size=(20, 30), toward=None
    )

    assert found.shape == (20, 30) and found.max() > 0


def test_heat_is_counted_by_area():
    heat = np.ones((10, 10), np.float32)
    mask = np.zeros((10, 10), bool)
    mask[2:4, 2:7] = True

    assert concentration(heat, mask) == pytest.approx(1.0)
    heat[mask] = 9.0
    assert concentration(heat, mask) == pytest.approx(90 / 180 / 0.1)
    assert concentration(heat, mask.astype(np.uint8)) == pytest.approx(90 / 180 / 0.1)
    with pytest.raises(ValueError, match="1 and 0"):
        concentration(heat, mask * 255)
    assert np.array_equal(hottest(heat, 0.1), mask)
    with pytest.raises(ValueError, match="both hold something"):
        concentration(heat, ~mask & mask)


class TwoBranches(nn.Module):
    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleList([Bright(), Bright()])

    def forward(self, first, second):
        return self.branches[0](first) + self.branches[1](second)


def test_each_branch_has_a_map_of_its_own():
    first, second = torch.zeros((2, 1, 1, 6, 6))
    first[..., 0, 0], second[..., 5, 5] = 1.0, 1.0

    heats = [grad_cam(TwoBranches(), first, second, layer=f"branches.{n}.features") for n in (0, 1)]

    assert [tuple(int(i) for i in np.argwhere(heat == 1.0)[0]) for heat in heats] == [
        (0, 0),
        (5, 5),
    ]


def test_an_output_that_is_not_there_is_said():
    network = classifier("resnet18", width=0.125, outputs=2)

    with pytest.raises(ValueError, match="2 outputs, and no 5"):
        grad_cam(network, torch.rand(1, 1, 32, 32), layer="layer4", output=5)


@pytest.mark.parametrize("toward", [0, 2, "high", float("nan")])
def test_toward_is_one_of_three(toward):
    for explain in (grad_cam, explained):
        with pytest.raises(ValueError, match=f"toward is {toward!r}; 1, -1 or None"):
            explain(Bright(), torch.ones((1, 1, 4, 4)), layer="features", toward=toward)


def test_no_image_is_said():
    with pytest.raises(ValueError, match="Grad-CAM needs an image"):
        grad_cam(Bright(), layer="features")


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (
            torch.ones((1, 1, 64, 64), dtype=torch.int64),
            r"an input of int64 \(1, 1, 64, 64\): .*Long",
        ),
        (torch.rand((1, 1, 8, 8)), r"an input of float32 \(1, 1, 8, 8\): .*too small"),
        (torch.rand((1, 3, 64, 64)), r"an input of float32 \(1, 3, 64, 64\): .*channels"),
    ],
)
def test_an_image_that_the_network_cannot_take_is_said(image, sentence):
    network = classifier("densenet121", width=0.125)

    with pytest.raises(ValueError, match=sentence):
        grad_cam(network, image, layer=cam_layer("densenet121"))
    assert network.training and not network.get_submodule("features.norm5")._forward_hooks


def test_a_network_that_was_made_in_inference_mode_is_said():
    with torch.inference_mode():
        network = classifier("resnet18", width=0.125)

        with pytest.raises(ValueError, match="Inference tensors cannot be saved"):
            grad_cam(network, torch.rand((1, 1, 64, 64)), layer="layer4")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_ran_out_stays_what_it_is(error):
    class Full(Bright):
        def forward(self, x):
            raise error

    with pytest.raises(RuntimeError) as raised:
        grad_cam(Full(), torch.ones((1, 1, 4, 4)), layer="features")
    assert raised.value is error
