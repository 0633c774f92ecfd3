"""What `train.py` of a plugin needs: examples, seeds, checkpoints, early stopping, weights.

Nothing here imports torch; where a function is given tensors or networks, torch is there already.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.errors import ManifestError

#: What learning needs of one case, by name: what `examples(case, labels)` returned, and
#: `INSTITUTION` and `PATIENT`.
Example = Mapping[str, NDArray[Any]]

#: In each example, str, shape (): names that tell institutions and patients apart and name none.
#: An institution that is not known is "".
INSTITUTION, PATIENT = "institution", "patient"

_CHECKPOINT = "checkpoint.safetensors"


class CachedExamples(Sequence[Example]):
    """Examples that lie on disk as ``.npz``; one is read when it is asked for.

    May be pickled, and given to a ``torch.utils.data.DataLoader`` as it is.

    Parameters
    ----------
    paths : sequence of Path
    patients : sequence of str
        Whose each example is; no patient's examples may be on both sides of a fold.
    """

    def __init__(self, paths: Sequence[Path], patients: Sequence[str]):
        self.paths, self.patients = tuple(paths), tuple(patients)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return CachedExamples(self.paths[index], self.patients[index])
        with np.load(self.paths[index], allow_pickle=False) as file:
            read = {name: file[name] for name in file.files}
        return {**read, PATIENT: np.array(self.patients[index])}

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))


def patients_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return whose each example is: the groups that no fold may part."""
    return tuple(str(one[PATIENT]) for one in examples)


def institutions_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """Return where each example was scanned: what must not tell the outcome."""
    return tuple(str(one[INSTITUTION]) for one in examples)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What `fit` learns from, and what it stops by. No patient is in both."""

    train: Sequence[Example]
    tuning: Sequence[Example]


def _say_nothing(_done: float, _total: float, **_figures: float) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """How one training runs.

    Attributes
    ----------
    device : str
        ``cpu`` or ``cuda:N``.
    folder : Path
        For the checkpoint: the same command finds the same folder after a kill.
    max_seconds : float or None
        What is left of the time that may be spent in `fit`, at the start; None: no limit.
    progress : callable (done, total, **figures)
        Moves the bar; figures are shown beside it, and the last ones kept with the weights.
    model : str
        Which of the plugin's `MODELS` was asked for; "" where it has none.
    part : str
        Which of the plugin's `PARTS` is to be learned; "" where it has none.
    workers : int
        Processes that may be started.
    """

    device: str
    folder: Path
    max_seconds: float | None = None
    progress: Callable[..., None] = _say_nothing
    model: str = ""
    part: str = ""
    workers: int = 1
    started: float = field(default_factory=time.monotonic)

    @property
    def out_of_time(self) -> bool:
        """Return whether `max_seconds` are over."""
        limit = self.max_seconds
        return limit is not None and time.monotonic() - self.started >= limit


# --- chance ----------------------------------------------------------------------------------


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and, if it is imported, torch, and ask torch for exact repetition.

    Called before `fit` by the node; call it in `fit` once more if torch is imported only there.
    Same seed, machine and number of threads: same weights.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def random_state() -> dict[str, Any]:
    """Return the state of all that `seed_everything` seeds, for a checkpoint."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    state: dict[str, Any] = {
        "python": [version, list(words), gauss],
        "numpy": [kind, np.asarray(keys), position, has_gauss, cached],
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        state["torch"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = list(torch.cuda.get_rng_state_all())
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Go on with chance where `random_state` was taken."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(state["numpy"]))
    torch = sys.modules.get("torch")
    if torch is not None and "torch" in state:
        torch.set_rng_state(state["torch"])
        if "cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(state["cuda"])


# --- checkpoints -----------------------------------------------------------------------------


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint in `folder` as one step: a kill leaves the old one or the new one.

    Parameters
    ----------
    folder : Path
        `TrainingRun.folder`.
    state : mapping
        Numbers, text, None, arrays and tensors in any nesting of mappings, lists and tuples
        (tuples come back as lists): ``network.state_dict()``, ``optimizer.state_dict()``,
        `random_state`, the epoch. No pickle is made of it.
    """
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {}
    document = json.dumps(_flat(state, tensors))
    write_whole(folder / _CHECKPOINT, save(tensors, metadata={"state": document}))


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return what `save_checkpoint` kept; None before the first one, and of a damaged one."""
    from safetensors import SafetensorError, safe_open

    path = folder / _CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
            document = json.loads(file.metadata()["state"])
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
    state: dict[str, Any] = _nested(document, tensors)
    return state


def _flat(value: Any, tensors: dict[str, NDArray[Any]]) -> Any:
    """Return `value` as JSON; arrays go into `tensors`, mappings keep keys that are no text."""
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        name = f"{len(tensors)}"
        array = _array(value)
        # A stored array has at least one axis: the format forgets which ones had none.
        tensors[name] = np.ascontiguousarray(array.reshape(array.shape or (1,)))
        kind = "array" if isinstance(value, np.ndarray) else "tensor"
        return {kind: name, "shape": list(array.shape)}
    if isinstance(value, Mapping):
        return {"mapping": [[key, _flat(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flat(item, tensors) for item in value]}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")


def _nested(value: Any, tensors: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(value, dict):
        return value
    if "mapping" in value:
        return {key: _nested(item, tensors) for key, item in value["mapping"]}
    if "list" in value:
        return [_nested(item, tensors) for item in value["list"]]
    if "array" in value:
        return tensors[value["array"]].reshape(value["shape"])
    array = tensors[value["tensor"]].reshape(value["shape"])
    return sys.modules["torch"].from_numpy(array.copy())


def _array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file as one step, so that a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


# --- when to stop ----------------------------------------------------------------------------


@dataclass(kw_only=True)
class EarlyStopping:
    """Remembers the best figure on the tuning cases, and says when it is long ago.

    Examples
    --------
    >>> stopping = EarlyStopping(patience=2)
    >>> [stopping.improved(dice) for dice in (0.3, 0.5, 0.4, 0.5)], stopping.over
    ([True, True, False, False], True)
    >>> EarlyStopping(**stopping.state()).best
    0.5
    """

    #: So many figures in a row without improvement end the training.
    patience: int
    higher_is_better: bool = True
    #: Smaller steps do not count.
    least: float = 0.0
    best: float | None = None
    since: int = 0

    def improved(self, figure: float) -> bool:
        """Take a new figure; return whether it is the best so far. NaN never is."""
        step = 0.0 if self.best is None else figure - self.best
        better = step > self.least if self.higher_is_better else step < -self.least
        if (self.best is None and figure == figure) or better:
            self.best, self.since = float(figure), 0
            return True
        self.since += 1
        return False

    @property
    def over(self) -> bool:
        """Return whether to stop."""
        return self.since >= self.patience

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold; ``EarlyStopping(**state)`` goes on from it."""
        return dict(vars(self))


# --- weights ---------------------------------------------------------------------------------


def tensors_of(network: Any, *, half: bool = False) -> dict[str, NDArray[Any]]:
    """Return the weights of a torch module by name, for what `fit` returns.

    Parameters
    ----------
    network : torch.nn.Module
    half : bool
        Store floating point in 16 bits; they are widened again when read.
    """
    return {name: stored(_array(value), half=half) for name, value in network.state_dict().items()}


def stored(array: NDArray[Any], *, half: bool) -> NDArray[Any]:
    """Return an array as it is kept in a weights file: float32, or float16 if `half`."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    return array.astype(np.float16 if half else np.float32)


def write_weights(path: Path, tensors: Mapping[str, NDArray[Any]], *, half: bool = False) -> None:
    """Write arrays as safetensors; equal arrays give equal bytes.

    Parameters
    ----------
    path : Path
    tensors : mapping of name to array
    half : bool
        Store floating point in 16 bits. Otherwise float16 stays, all else becomes float32.

    Raises
    ------
    ValueError
        If an array is empty of names, or holds NaN or infinity.
    """
    from safetensors.numpy import save

    kept = {
        # Not `ascontiguousarray`: it gives a single number an axis.
        name: np.asarray(
            array if array.dtype == np.float16 else stored(array, half=half), order="C"
        )
        for name, array in sorted((name, np.asarray(a)) for name, a in tensors.items())
    }
    for name, array in kept.items():
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise ValueError(f"weights {name} of {path.name} are not finite")
    write_whole(path, save(kept))


def read_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a weights file; floating point as float32.

    Raises
    ------
    ManifestError
        If the file is not there, was cut short, or is no weights file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ManifestError(
            f"the weights {path.name} cannot be read ({error}); copy them again, or train again"
        ) from error
    return {name: stored(array, half=False) for name, array in found.items()}
