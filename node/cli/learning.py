"""The commands train, compare, permute, evaluate and study."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from node.cli.common import console, interruptible, sentences
from node.errors import LearningError
from node.inference.registry import builtin_plugin_folder, discover
from node.manifest_file import MANIFEST_NAME, find_manifest

PluginArgument = Annotated[
    str, typer.Argument(help="Name of a built-in plugin, or the folder of one.")
]
DataOption = Annotated[
    Path | None, typer.Option(help="A folder of DICOM studies with labels.csv (docs/train.md).")
]
PhantomOption = Annotated[
    int | None, typer.Option(help="So many phantoms of the plugin's cohort.py.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda:0.")]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Where examples are kept.", show_default="~/.cache/sentinel-node/training"),
]
PairsOption = Annotated[
    int,
    typer.Option(
        help="Of a classifier: change one thing in so many phantoms, and ask again "
        "(docs/evaluation.md).",
    ),
]
#: Seconds between two lines on one stage, where no bar can be drawn.
LINE_EVERY_S = 60.0
_GOES_ON = "stopped; the same command goes on where it was"
_STARTS_OVER = "stopped, no report was written; the same command starts over"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (train, compare, permute, evaluate, study):
        app.command()(command)


def train(  # noqa: PLR0913 one parameter for each option
    plugin: PluginArgument,
    data: DataOption = None,
    phantom: PhantomOption = None,
    seed: Annotated[int, typer.Option(help="Same seed and machine: same weights.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="A new folder for the trained plugin.", show_default="NAME-trained"),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write into the plugin's own folder.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(help="Most minutes for learning.")] = None,
    model: Annotated[
        str, typer.Option(help="Which of the plugin's models, where it has several.")
    ] = "",
    device: DeviceOption = "auto",
    cache: CacheOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Use no example and no checkpoint of an earlier call.")
    ] = False,
) -> None:
    """Train a plugin on studies or on its phantoms; goes on where a killed call was."""
    with interruptible(_GOES_ON), sentences():
        from node.training.train import TrainOrder
        from node.training.train import train as run

        folder = _plugin_folder(plugin)
        if in_place and out is not None:
            raise LearningError("give --out DIR or --in-place, not both")
        place = None if in_place else out or Path(f"{folder.resolve().name}-trained")
        order = TrainOrder(
            plugin=folder,
            data=data,
            phantoms=phantom,
            seed=seed,
            out=place,
            minutes=minutes,
            device=_device(device),
            store=_store(cache),
            fresh=fresh,
            model=model,
        )
        with _bars() as bars:
            trained = run(order, bars.show)
        fitted = trained.fitted
        figures = ", ".join(f"{name} {value:.4g}" for name, value in fitted.figures.items())
        early = f", ended early at {fitted.done:g} of {fitted.total:g}"
        _say(
            f"{trained.manifest.name_version} learned from {trained.train} cases, tuned on "
            f"{trained.tuning}, in {fitted.seconds:.0f} s{f' ({figures})' if figures else ''}"
            f"{early if fitted.done < fitted.total else ''}; it is in {trained.folder}"
        )


def compare(
    plugin: PluginArgument,
    report: Annotated[Path, typer.Option(help="A new folder for the table.")],
    data: DataOption = None,
    phantom: PhantomOption = None,
    seed: Annotated[int, typer.Option(help="Same seed and machine: same table.")] = 0,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
) -> None:
    """Judge every model of a plugin on the same cases, in one table: HTML and compare.json."""
    with interruptible(_STARTS_OVER), sentences():
        from node.training.compare import CompareOrder
        from node.training.compare import compare as run

        order = CompareOrder(
            plugin=_plugin_folder(plugin),
            data=data,
            phantoms=phantom,
            seed=seed,
            report=report,
            device=_device(device),
            store=_store(cache),
        )
        with _bars() as bars:
            document = run(order, bars.show)
        for row in document["rows"]:
            _say(
                f"{row['model']} {row['classifier']}: AUROC "
                f"{row['cross_validated']['auroc']:.3f} by cross-validation"
            )
        _say(f"{len(document['rows'])} models; the table is {report / 'compare.html'}")


def permute(  # noqa: PLR0913 one parameter for each option
    plugin: PluginArgument,
    report: Annotated[Path, typer.Option(help="A new folder for the AUROCs.")],
    runs: Annotated[int, typer.Option(help="How often outcomes are mixed.")] = 30,
    data: DataOption = None,
    phantom: PhantomOption = None,
    seed: Annotated[int, typer.Option(help="Same seed and machine: same AUROCs.")] = 0,
    model: Annotated[
        str, typer.Option(help="Which of the plugin's models, where it has several.")
    ] = "",
    device: DeviceOption = "auto",
    cache: CacheOption = None,
) -> None:
    """Learn with mixed outcomes, which must be worth nothing: AUROC 0.5 in HTML and JSON."""
    with interruptible(_STARTS_OVER), sentences():
        from node.training.permute import PermuteOrder
        from node.training.permute import permute as run

        order = PermuteOrder(
            plugin=_plugin_folder(plugin),
            data=data,
            phantoms=phantom,
            seed=seed,
            report=report,
            runs=runs,
            model=model,
            device=_device(device),
            store=_store(cache),
        )
        with _bars() as bars:
            found = run(order, bars.show)
        goal = found["goal"]
        _say(
            f"mean AUROC {found['mean']:.3f} of {runs} runs with mixed outcomes, "
            f"{found['least']:.3f} to {found['greatest']:.3f}; {goal['goal']}: "
            f"{'met' if goal['met'] else 'not met'}; it is in {report / 'permutation.html'}"
        )


def evaluate(  # noqa: PLR0913 one parameter for each option
    plugin: PluginArgument,
    report: Annotated[Path, typer.Option(help="A new folder for the report.")],
    data: DataOption = None,
    phantom: PhantomOption = None,
    seed: Annotated[int, typer.Option(help="Which phantoms; never those of a training.")] = 0,
    pairs: PairsOption = 0,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
) -> None:
    """Run a plugin on cases it never saw and write a report: HTML, report.json, pictures."""
    with interruptible(_STARTS_OVER), sentences():
        _learning_installed()
        from node.training.evaluate import evaluate as run
        from node.training.judge import EvaluateOrder

        order = EvaluateOrder(
            plugin=_plugin_folder(plugin),
            data=data,
            phantoms=phantom,
            seed=seed,
            report=report,
            device=_device(device),
            store=_store(cache),
            pairs=pairs,
        )
        with _bars() as bars:
            document = run(order, bars.show)
        if document.get("collapsed"):
            raise LearningError(
                f"no result: {document.get('collapsed_reason')}; the report in {report} shows it",
                code="MODEL_COLLAPSED",
            )
        _say(f"{_figures(document)}; the report is {report / 'report.html'}")


def study(  # noqa: PLR0913 one parameter for each option
    plugin: PluginArgument,
    report: Annotated[Path, typer.Option(help="A folder for plugins, reports and study.json.")],
    seeds: Annotated[int, typer.Option(help="How many trainings.")] = 3,
    phantom_train: Annotated[int, typer.Option(help="Phantoms for each training.")] = 400,
    phantom_test: Annotated[int, typer.Option(help="Phantoms for the test.")] = 200,
    minutes: Annotated[float | None, typer.Option(help="Most minutes for each training.")] = None,
    test_seed: Annotated[int, typer.Option(help="Which phantoms are the test.")] = 0,
    pairs: PairsOption = 0,
    device: DeviceOption = "auto",
    cache: CacheOption = None,
) -> None:
    """Train with several seeds, evaluate each on the same test phantoms; goes on after a kill."""
    with interruptible(_GOES_ON), sentences():
        _learning_installed()
        from node.training.study import StudyOrder
        from node.training.study import study as run

        order = StudyOrder(
            plugin=_plugin_folder(plugin),
            seeds=seeds,
            train=phantom_train,
            test=phantom_test,
            report=report.resolve(),
            minutes=minutes,
            device=_device(device),
            store=_store(cache),
            pairs=pairs,
            test_seed=test_seed,
        )
        with _bars() as bars:
            table = run(order, bars.show)
        for name, row in table.items():
            _say(f"{name}: mean {row['mean']:.3f}, {row['min']:.3f} to {row['max']:.3f}")
        _say(f"{seeds} seeds; everything is in {report}")


def _plugin_folder(plugin: str) -> Path:
    """Return the folder that a name or a path means."""
    folder = Path(plugin)
    if (folder / MANIFEST_NAME).is_file():
        return folder.resolve()
    if "/" in plugin or folder.is_dir():
        raise LearningError(f"there is no {MANIFEST_NAME} in {plugin}; name a plugin's own folder")
    return find_manifest(plugin, discover((builtin_plugin_folder(),)).values()).folder


def _device(device: str) -> str:
    from node.inference.devices import resolve_devices

    return resolve_devices((device,))[0]


def _store(cache: Path | None) -> Path:
    from node.training.store import default_store

    return (cache or default_store()).resolve()


def _learning_installed() -> None:
    """Raise `LearningError` if the libraries for pictures are not there."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise LearningError(
            'the report needs matplotlib; install it with: pip install "sentinel-node[train]"'
        )


def _figures(document: Mapping[str, object]) -> str:
    keys = (
        *("dice", "sensitivity", "fp_per_scan", "fp_per_tumor_free_scan", "baseline_dice"),
        *("auroc", "oracle_auroc", "best_baseline_auroc", "specificity", "brier"),
    )
    found = [(key, document.get(key)) for key in keys]
    return ", ".join(f"{k} {v:.3f}" for k, v in found if isinstance(v, int | float)) or "evaluated"


def _say(sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


class _Shows(Protocol):
    def show(
        self, stage: str, done: float, total: float, figures: Mapping[str, float], /
    ) -> None: ...


class _Lines:
    """Where there is no terminal: a line at the end of each stage, and now and then before."""

    def __init__(self) -> None:
        self._said_at: dict[str, float] = {}

    def show(self, stage: str, done: float, total: float, figures: Mapping[str, float]) -> None:
        """Say how far a stage is, if that was not said lately."""
        now = time.monotonic()
        last = self._said_at.setdefault(stage, now)
        if done < total and now - last < LINE_EVERY_S:
            return
        self._said_at[stage] = now
        _say(f"{stage} {done:g} of {total:g} {_words(figures)}".rstrip())


class _Bars:
    """One bar for each stage, made when it is first heard of."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, stage: str, done: float, total: float, figures: Mapping[str, float]) -> None:
        """Move the bar of a stage."""
        words = _words(figures)
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, words=words)
        self._progress.update(self._tasks[stage], completed=done, total=total, words=words)


def _words(figures: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in figures.items())


@contextmanager
def _bars() -> Iterator[_Shows]:
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)
