"""What train.py of a plugin uses: checkpoints without pickle, seeds, stopping, weights."""

import pickle

import numpy as np
import pytest

from node.errors import ManifestError
from node.toolkit.training import (
    CachedExamples,
    EarlyStopping,
    TrainingRun,
    load_checkpoint,
    random_state,
    read_weights,
    restore_random_state,
    save_checkpoint,
    seed_everything,
    tensors_of,
    write_weights,
)


def test_examples_are_read_when_asked_for_and_travel_between_processes(tmp_path):
    paths = [tmp_path / f"{number}.npz" for number in range(3)]
    for number, path in enumerate(paths):
        np.savez(path, x=np.full(2, number))

    examples = pickle.loads(pickle.dumps(CachedExamples(paths, ["a", "a", "b"])))

    assert [int(one["x"][0]) for one in examples] == [0, 1, 2]
    assert int(examples[-1]["x"][0]) == 2 and len(examples[1:]) == 2
    assert [str(one["patient"]) for one in examples[1:]] == ["a", "b"]
    with pytest.raises(IndexError):
        examples[3]


def test_a_checkpoint_gives_back_what_went_in(tmp_path):
    assert load_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint.safetensors").write_bytes(b"damaged")
    assert load_checkpoint(tmp_path) is None  # so is a damaged one
    state = {
        "epoch": 3,
        "best": None,
        "name": "x",
        "figures": [0.5, float("-inf"), True],
        "w": np.arange(6, dtype=np.float64).reshape(2, 3),
        "scalar": np.float32(2.5),
        "none": np.zeros((0, 2), np.int64),
        "state": {0: {"step": np.array(4.0)}, "a": (1, 2)},
    }

    save_checkpoint(tmp_path, state)
    save_checkpoint(tmp_path, state)
    found = load_checkpoint(tmp_path)

    assert found["epoch"] == 3 and found["best"] is None and found["scalar"] == 2.5
    assert found["figures"] == [0.5, float("-inf"), True]
    np.testing.assert_array_equal(found["w"], state["w"])
    assert found["w"].dtype == np.float64 and found["none"].shape == (0, 2)
    assert found["state"][0]["step"].shape == () and found["state"]["a"] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    found["w"][0, 0] = 9  # may be learned on
    with pytest.raises(TypeError, match="cannot hold object"):
        save_checkpoint(tmp_path, {"x": object()})


def test_chance_goes_on_where_it_was(tmp_path):
    seed_everything(7)
    save_checkpoint(tmp_path, random_state())
    expected = np.random.rand(3)

    seed_everything(8)
    restore_random_state(load_checkpoint(tmp_path))

    np.testing.assert_array_equal(np.random.rand(3), expected)


def test_a_network_and_its_optimizer_go_on_from_a_checkpoint_as_if_nothing_had_been(tmp_path):
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)

    def parts():
        seed_everything(1)
        network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        return network, torch.optim.AdamW(network.parameters())

    def step(network, optimizer):
        optimizer.zero_grad()
        network(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()

    network, optimizer = parts()
    step(network, optimizer)
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": random_state(),
    }
    save_checkpoint(tmp_path, state)
    step(network, optimizer)
    expected = tensors_of(network)

    network, optimizer = parts()
    found = load_checkpoint(tmp_path)
    network.load_state_dict(found["network"])
    optimizer.load_state_dict(found["optimizer"])
    restore_random_state(found["random"])
    step(network, optimizer)

    for name, array in tensors_of(network).items():
        np.testing.assert_array_equal(array, expected[name])
    assert tensors_of(network, half=True)["0.weight"].dtype == np.float16
    assert tensors_of(network, half=True)["1.num_batches_tracked"].dtype == np.int64


def test_stopping_waits_patiently_and_takes_no_nan_for_an_improvement():
    stopping = EarlyStopping(patience=2, higher_is_better=False, least=0.1)

    assert not stopping.improved(float("nan"))
    assert stopping.improved(1.0)
    assert not stopping.improved(0.95) and not stopping.over
    assert stopping.improved(0.5)
    assert not stopping.improved(float("nan"))
    assert not stopping.improved(0.6) and stopping.over


def test_weights_are_small_finite_and_equal_for_equal_arrays(tmp_path):
    tensors = {"b": np.ones(3), "a": np.float16([0.5]), "n": np.array([3])}
    write_weights(tmp_path / "one.safetensors", tensors)
    write_weights(tmp_path / "two.safetensors", dict(sorted(tensors.items())))
    write_weights(tmp_path / "half.safetensors", tensors, half=True)

    found = read_weights(tmp_path / "one.safetensors")

    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "two.safetensors"
    ).read_bytes()
    assert {name: array.dtype for name, array in found.items()} == {
        "a": np.float32,
        "b": np.float32,
        "n": np.int64,
    }
    assert read_weights(tmp_path / "half.safetensors")["b"].tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="not finite"):
        write_weights(tmp_path / "x.safetensors", {"w": np.array([np.nan])})


def test_time_is_over_when_it_is(tmp_path):
    run = TrainingRun(device="cpu", folder=tmp_path)
    assert not run.out_of_time
    run.progress(1, 2, loss=0.5)
    assert TrainingRun(device="cpu", folder=tmp_path, max_seconds=0.0).out_of_time
    assert not TrainingRun(device="cpu", folder=tmp_path, max_seconds=60.0).out_of_time


@pytest.mark.parametrize("content", [None, b"", b"no weights at all", "half"])
def test_weights_that_cannot_be_read_are_a_sentence(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content == "half":
        write_weights(path, {"a": np.ones((40, 40), np.float32)})
        path.write_bytes(path.read_bytes()[:-900])
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"the weights w\.safetensors cannot be read .*again"):
        read_weights(path)
