"""The sliding window: equal to MONAI's, without air, and slower rather than dead."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")
monai_inferers = pytest.importorskip("monai.inferers")

from node.toolkit import tiling  # noqa: E402
from node.toolkit.layers import cpu_copy  # noqa: E402
from node.toolkit.networks import unet  # noqa: E402
from node.toolkit.windows import Predictor, SlidingWindow, predict  # noqa: E402

SMALL = SlidingWindow(size=(16, 24, 32), precision="exact", deterministic=True, air=None)


def network(outputs=1, seed=0):
    torch.manual_seed(seed)
    return unet(outputs=outputs, channels=(4, 8, 16), strides=(2, 2), residual_units=1).eval()


def image(*shape, seed=0):
    return np.random.default_rng(seed).random((1, *shape), dtype=np.float32)


def by_monai(net, picture, settings):
    with torch.inference_mode():
        output = monai_inferers.sliding_window_inference(
            torch.from_numpy(picture)[None],
            settings.size,
            2,
            net,
            overlap=settings.overlap,
            mode="gaussian",
        )
    return settings.probabilities(output[0], 0).numpy()


class Failing(torch.nn.Module):
    """A network whose first calls fail; then the value of the image is its output."""

    def __init__(self, *errors, only_above=0):
        super().__init__()
        self.errors = list(errors)
        self.only_above = only_above

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        if self.errors and len(x) > self.only_above:
            raise self.errors.pop(0)
        return x.float()


@pytest.mark.parametrize(
    ("shape", "overlap", "outputs", "activation"),
    [
        ((40, 50, 70), 0.5, 1, "sigmoid"),
        ((33, 24, 64), 0.25, 1, "sigmoid"),
        ((40, 50, 70), 0.6, 3, "softmax"),
        ((10, 50, 20), 0.5, 2, "none"),
        ((9, 7, 5), 0.0, 1, "sigmoid"),
    ],
    ids=["overlap a half", "a quarter", "classes", "smaller than a window", "one window"],
)
def test_result_is_that_of_monai(shape, overlap, outputs, activation):
    settings = SlidingWindow(
        size=(16, 24, 32),
        overlap=overlap,
        activation=activation,
        precision="exact",
        deterministic=True,
        air=None,
    )
    net = network(outputs)
    notes = []

    ours = predict(net, image(*shape), settings, notes=notes)

    theirs = by_monai(net, image(*shape), settings)
    assert ours.shape == (outputs, *shape)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
    assert notes == []


def test_windows_and_weights_are_those_of_monai():
    data = pytest.importorskip("monai.data.utils")

    ours = tiling.windows((50, 24, 71), (16, 24, 32), 0.4)

    assert ours == data.dense_patch_slices((50, 24, 71), (16, 24, 32), (9, 24, 19))
    weights = data.compute_importance_map((16, 24, 32), mode="gaussian").numpy()
    np.testing.assert_allclose(tiling.gaussian((16, 24, 32)), weights, rtol=1e-6)


def test_every_quick_layer_equals_its_original():
    torch.manual_seed(1)
    layers = [
        torch.nn.Conv3d(1, 6, 3, stride=2, padding=1),
        torch.nn.Conv3d(6, 6, (1, 3, 5), padding=(0, 1, 2), groups=2, bias=False),
        torch.nn.InstanceNorm3d(6, affine=True),
        torch.nn.ConvTranspose3d(6, 4, 2, stride=2),
        torch.nn.ConvTranspose3d(4, 2, 3, stride=2, padding=1, output_padding=1),
        torch.nn.InstanceNorm3d(2),
        torch.nn.ConvTranspose3d(2, 1, 3, stride=2, padding=1, output_padding=1, bias=False),
        torch.nn.InstanceNorm3d(1),
        torch.nn.Conv3d(1, 1, (3, 1, 5), padding=(1, 0, 2)),
    ]
    net = torch.nn.Sequential(*layers).eval()
    with torch.inference_mode():
        layers[2].weight.uniform_(0.5, 2)
        layers[2].bias.uniform_(-1, 1)
        x = torch.rand(2, 1, 8, 12, 16)

        difference = (cpu_copy(net)(x) - net(x)).abs().max()

    assert float(difference) < 2e-5
    assert type(layers[0]) is type(net[0]) is torch.nn.Conv3d  # the original is untouched


def test_windows_of_air_are_not_computed_and_nothing_else_changes():
    picture = np.zeros((1, 48, 72, 96), np.float32)
    picture[:, 20:28, 30:40, 40:56] = image(8, 10, 16)
    calls = []

    class Counting(torch.nn.Module):
        def forward(self, x):
            calls.append(len(x))
            return x * 2 - 1

    everywhere = predict(Counting(), picture, SMALL, notes=[])
    all_windows = sum(calls)
    calls.clear()
    settings = SlidingWindow(size=SMALL.size, precision="exact", air=0.0)
    without_air = predict(Counting(), picture, settings, notes=[])

    inside = picture[0] > 0
    assert sum(calls) < all_windows
    np.testing.assert_array_equal(without_air[0][inside], everywhere[0][inside])
    assert float(without_air[0, 0, 0, 0]) == 0.0
    kept = without_air[0] != 0
    np.testing.assert_array_equal(without_air[0][kept], everywhere[0][kept])


def test_nothing_but_air_is_background_in_every_class():
    settings = SlidingWindow(size=(8, 8, 8), activation="softmax")

    made = predict(network(3), np.zeros((1, 24, 24, 24), np.float32), settings, notes=[])

    assert made.shape == (3, 24, 24, 24)
    assert np.all(made[0] == 1)
    assert np.all(made[1:] == 0)


def test_a_value_above_air_in_any_channel_keeps_a_window():
    picture = np.zeros((2, 8, 8, 24), np.float32)
    picture[1, 3, 3, 20] = 0.1

    kept = tiling.occupied(picture, tiling.windows((8, 8, 24), (8, 8, 8), 0.5), 0.0)

    assert [index[2].start for index in kept] == [16]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["CUDA", "CPU", "cuDNN"],
)
def test_out_of_memory_makes_batches_smaller_and_says_so(error):
    settings = SlidingWindow(size=(8, 8, 8), batch=4, precision="exact", activation="none")
    notes = []

    made = predict(Failing(error, only_above=2), image(8, 8, 40), settings, notes=notes)

    np.testing.assert_allclose(made, image(8, 8, 40), rtol=1e-5)
    assert notes == ["cpu ran out of memory with 4 windows at a time; went on with 2."]


def test_a_device_too_small_for_one_window_leaves_the_work_to_the_cpu():
    # "cpu:0" is treated as any device that is not the CPU.
    full = torch.OutOfMemoryError("out of memory")
    settings = SlidingWindow(size=(8, 8, 8), batch=2, precision="exact", activation="none")
    notes = []

    made = predict(Failing(full, full), image(8, 8, 40), settings, device="cpu:0", notes=notes)

    np.testing.assert_allclose(made, image(8, 8, 40), rtol=1e-5)
    assert notes == [
        "cpu:0 ran out of memory with 2 windows at a time; went on with 1.",
        "cpu:0 ran out of memory; the CPU computed the result.",
    ]


@pytest.mark.parametrize(("size", "counts"), [((8, 8, 8), [2, 2, 1]), ((80, 80, 80), [1, 1])])
def test_small_windows_are_computed_by_twos_on_the_cpu(size, counts):
    found = []

    class Counting(torch.nn.Module):
        def forward(self, x):
            found.append(len(x))
            return x

    settings = SlidingWindow(size=size, overlap=0.0, precision="exact", air=None)

    predict(Counting(), image(size[0], size[1], size[2] * sum(counts)), settings, notes=[])

    assert found == counts


def test_the_smaller_batch_is_kept_for_the_next_case():
    settings = SlidingWindow(size=(8, 8, 8), batch=4, precision="exact", activation="none")
    predictor = Predictor(Failing(torch.OutOfMemoryError("x"), only_above=2), settings)
    notes = []
    predictor.predict(image(8, 8, 40), notes=[])

    predictor.predict(image(8, 8, 40), notes=notes)

    assert notes == []


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), torch.OutOfMemoryError("x")],
    ids=["a defect", "one window is too much for the CPU"],
)
def test_what_no_smaller_batch_helps_is_raised(error):
    settings = SlidingWindow(size=(8, 8, 8), batch=1, precision="exact")

    with pytest.raises(RuntimeError, match=str(error)):
        predict(Failing(error), image(8, 8, 40), settings, notes=[])


def test_half_precision_that_overflows_is_repeated_in_float32():
    class Large(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv3d(1, 1, 1, bias=False)
            with torch.no_grad():
                self.layer.weight.fill_(1e6)

        def forward(self, x):
            return self.layer(x + 1)

    notes = []
    settings = SlidingWindow(size=(8, 8, 8), activation="none")

    made = predict(Large(), image(8, 8, 8), settings, device="cpu:0", notes=notes)

    np.testing.assert_allclose(made, (image(8, 8, 8) + 1) * 1e6, rtol=1e-5)
    assert notes == ["Half precision was not exact enough for this image: float32 was used."]


class Seeing(torch.nn.Module):
    """Sees the value of the image; says which precision it was asked in."""

    def __init__(self, error_of_rough=0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.error = error_of_rough
        self.asked = []

    def __deepcopy__(self, memo):
        twin = Seeing(self.error)
        twin.asked = self.asked
        return twin

    def forward(self, x):
        rough = x.dtype == torch.bfloat16
        self.asked.append("rough" if rough else "exact")
        return (x.float() * 20 - 10) + (self.error if rough else 0.0)


needs_bfloat16 = pytest.mark.skipif(
    not torch.cpu.get_capabilities().get("avx512_bf16"), reason="CPU without bfloat16"
)


@needs_bfloat16
def test_float32_computes_every_window_in_which_something_is_seen():
    picture = np.full((1, 8, 8, 80), 0.1, np.float32)
    picture[..., 60:62] = 0.8
    net = Seeing()
    settings = SlidingWindow(size=(8, 8, 8), overlap=0.0, batch=1)

    made = predict(net, picture, settings, notes=[])

    # the first window is computed by both; the eighth holds what is seen
    assert net.asked == ["rough", "exact", *["rough"] * 6, "rough", "exact", "exact", "rough"]
    exactly = SlidingWindow(size=(8, 8, 8), overlap=0.0, precision="exact")
    exact = predict(Seeing(), picture, exactly, notes=[])
    np.testing.assert_array_equal(made[..., 56:64], exact[..., 56:64])
    np.testing.assert_allclose(made, exact, atol=1e-4)


@needs_bfloat16
def test_a_rough_pass_that_saves_nothing_is_given_up():
    # something is seen in every second window
    picture = np.full((1, 8, 8, 8 * 40), 0.1, np.float32)
    picture.reshape(1, 8, 8, 40, 8)[..., 1::2, :] = 0.8
    net = Seeing()

    predict(net, picture, SlidingWindow(size=(8, 8, 8), overlap=0.0, batch=1), notes=[])

    assert net.asked[-30:] == ["exact"] * 30
    assert net.asked.count("rough") < 10


@needs_bfloat16
def test_a_rough_pass_that_contradicts_is_not_used():
    picture = np.full((1, 8, 8, 80), 0.1, np.float32)
    notes = []

    made = predict(Seeing(20.0), picture, SlidingWindow(size=(8, 8, 8)), notes=notes)

    exact = predict(
        Seeing(20.0), picture, SlidingWindow(size=(8, 8, 8), precision="exact"), notes=[]
    )
    np.testing.assert_array_equal(made, exact)
    assert notes == ["Half precision was not exact enough for this image: float32 was used."]


@needs_bfloat16
def test_a_layer_without_bfloat16_is_computed_in_float32():
    class Strict(torch.nn.Module):
        def forward(self, x):
            if x.dtype == torch.bfloat16:
                raise RuntimeError('"thing" not implemented for BFloat16')
            return x

    notes = []

    made = predict(Strict(), image(8, 8, 8), SlidingWindow(size=(8, 8, 8)), notes=notes)

    np.testing.assert_allclose(made, 1 / (1 + np.exp(-image(8, 8, 8))), rtol=1e-5)
    assert notes == ["Half precision was not exact enough for this image: float32 was used."]


@pytest.mark.parametrize("precision", ["auto", "exact"])
def test_the_same_bytes_in_every_run(precision):
    settings = SlidingWindow(size=(16, 24, 32), precision=precision, deterministic=True)
    predictor = Predictor(network(), settings)

    first = predictor.predict(image(30, 40, 50), notes=[])

    assert predictor.predict(image(30, 40, 50), notes=[]).tobytes() == first.tobytes()
    again = predict(network(), image(30, 40, 50), settings, notes=[])
    assert again.tobytes() == first.tobytes()
    assert zlib.crc32(first.tobytes()) == zlib.crc32(again.tobytes())


def test_global_switches_are_put_back():
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark

    predict(network(), image(16, 24, 32), SMALL, notes=[])
    with pytest.raises(RuntimeError):
        predict(Failing(RuntimeError("no")), image(16, 24, 32), SMALL, notes=[])

    after = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    assert after == before


def test_the_network_of_the_caller_stays_as_it_is():
    net = network().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}

    predict(net, image(16, 24, 32), SMALL, notes=[])

    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(tensor.requires_grad for tensor in net.parameters())


@pytest.mark.parametrize(
    "wrong",
    [{"overlap": 1.0}, {"overlap": -0.1}, {"size": (0, 8, 8)}, {"size": (8, 8)}, {"batch": -1}],
)
def test_settings_that_give_no_windows_are_refused(wrong):
    with pytest.raises(ValueError, match="no windows are possible"):
        SlidingWindow(**wrong)


@pytest.mark.parametrize("wrong", [{"activation": "tanh"}, {"precision": "x"}])
def test_settings_with_another_word_are_refused(wrong):
    with pytest.raises(ValueError, match="is one of"):
        SlidingWindow(**wrong)


def test_values_that_are_no_numbers_are_refused():
    picture = image(16, 24, 32)
    picture[0, 3, 4, 5] = np.nan

    with pytest.raises(ValueError, match="not finite"):
        predict(network(), picture, SMALL, notes=[])


@needs_bfloat16
def test_what_a_case_gives_does_not_depend_on_the_case_before():
    picture = np.full((1, 8, 8, 80), 0.1, np.float32)
    predictor = Predictor(Seeing(20.0), SlidingWindow(size=(8, 8, 8)))
    first, second = [], []

    made = [predictor.predict(picture, notes=notes) for notes in (first, second)]

    np.testing.assert_array_equal(*made)
    assert first == second and len(first) == 1


def test_an_image_without_channels_is_refused():
    with pytest.raises(ValueError, match="4 axes, not 3"):
        predict(network(), image(16, 24, 32)[0], SMALL, notes=[])


def test_measuring_a_mask_loads_no_torch():
    program = (
        "import json, sys; import node.toolkit.components, node.toolkit.intensity;"
        "print(json.dumps([m for m in ('torch', 'monai', 'scipy') if m in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)

    assert json.loads(done.stdout) == []
