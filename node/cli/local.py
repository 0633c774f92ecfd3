"""The command run: the same pipeline on a folder of DICOM files, without a network."""

from __future__ import annotations

import getpass
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from node import app as parts
from node.cli.common import console, read_settings, sentences
from node.clinical import Said, enter
from node.dicom.part10 import read_part10
from node.dicom.send import dicom_files
from node.errors import MalformedDataset, NodeError, RefusalCode, Refused, SettingsError
from node.intake.policy import Admission
from node.intake.receive import SUCCESS, Answer, Intake, StoreCommand
from node.manifest import PHASES
from node.model import DestinationGrade, Job, JobState
from node.parts import Node
from node.profiles import PROFILES, STANDARD
from node.settings import (
    PLAIN_PHASES,
    Condition,
    DestinationSettings,
    PhaseSettings,
    RoiSettings,
    RuleSettings,
    Settings,
)
from node.storage.delivery_rows import evidence_of_job
from node.storage.intake_rows import list_studies
from node.storage.job_rows import get_job, get_report, list_jobs
from node.toml_file import nearest

_RULE = "run"
_HERE = Admission(calling_ae="", called_ae="", peer="", may_store=True, max_associations=1)
_ENDED = {JobState.COMPLETED, JobState.REFUSED, JobState.FAILED, JobState.CANCELED}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(  # noqa: PLR0913 one parameter for each option
    study_dir: Annotated[Path, typer.Argument(help="A folder with the DICOM files of one study.")],
    plugin: Annotated[str, typer.Option(help="Name of the plugin, or name@version.")],
    out: Annotated[Path, typer.Option(help="A new folder for evidence, pictures, result.json.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    settings: Annotated[
        Path | None, typer.Option(help="A settings file, for its plugin folders and institution.")
    ] = None,
    plugins: Annotated[
        list[Path] | None, typer.Option(help="A folder of plugin folders, beside the built-in.")
    ] = None,
    profile: Annotated[
        str,
        typer.Option(help=f"Viewer profile, as of a destination: {', '.join(PROFILES)} or yours."),
    ] = STANDARD.name,
    roi: Annotated[
        list[str] | None,
        typer.Option(help="Names that mean a region of the plugin: tumor=GTV*. Approved or not."),
    ] = None,
    phase: Annotated[
        list[str] | None,
        typer.Option(help="Words that mean a contrast phase: 'arterial=Leber 1'."),
    ] = None,
    clinical: Annotated[
        list[str] | None,
        typer.Option(help="A clinical value: grade=g2, or with its unit 'age=61 a'."),
    ] = None,
) -> None:
    """Run a plugin on a folder: read, check, compute, encode, validate. Sends nothing."""
    with sentences():
        paths = _files_of(study_dir)
        _check_out(out)
        base = read_settings(settings) if settings else Settings(data_dir=out)
        asked = _Asked(
            plugin=plugin,
            device=device,
            plugins=plugins or (),
            profile=profile,
            rois=_rois(roi),
            phases=_phases(phase),
            clinical=_clinical(clinical),
        )
        with _private_node(base, asked) as node:
            take_in(node, paths)
            job = _compute(node, asked.clinical)
            _write_out(node, job, out)
        console.print(_sentence(job, out), markup=False, highlight=False, soft_wrap=True)
        if job.state is not JobState.COMPLETED:
            raise typer.Exit(1)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What to run, and how."""

    plugin: str
    device: str
    plugins: Sequence[Path]
    profile: str
    rois: Mapping[str, RoiSettings]
    phases: PhaseSettings
    clinical: Mapping[str, Said]


def _clinical(given: Sequence[str] | None) -> Mapping[str, Said]:
    """Return clinical values by name, as they are written: the node checks them."""
    values: dict[str, Said] = {}
    for one in given or ():
        name, equals, written = one.partition("=")
        value, _, unit = written.strip().partition(" ")
        if not (name and equals and value):
            raise SettingsError(
                f"--clinical {one}: write a name and a value, of a number its unit too: 'age=61 a'"
            )
        if name in values:
            raise SettingsError(f"--clinical {name} is said twice; say it once")
        values[name] = Said(value=value, unit=unit.strip(), by=getpass.getuser())
    return values


def _rois(given: Sequence[str] | None) -> Mapping[str, RoiSettings]:
    """Return the names of regions by ROI role; contours that nobody approved count here."""
    labels: dict[str, tuple[str, ...]] = {}
    for one in given or ():
        name, equals, pattern = one.partition("=")
        if not (name and equals and pattern):
            raise SettingsError(f"--roi {one}: write the region's name and a pattern: tumor=GTV*")
        labels[name] = (*labels.get(name, ()), pattern)
    return {name: RoiSettings(labels=found, unapproved=True) for name, found in labels.items()}


def _phases(given: Sequence[str] | None) -> PhaseSettings:
    """Return the words for each contrast phase."""
    words: dict[str, tuple[str, ...]] = {}
    for one in given or ():
        name, equals, word = one.partition("=")
        if not (equals and word):
            raise SettingsError(f"--phase {one}: write the phase and a word: arterial=HAP")
        if name not in PHASES:
            raise SettingsError(f"--phase {one}: there is no phase {name}{nearest(name, PHASES)}")
        words[name] = (*words.get(name, ()), word)
    return replace(PLAIN_PHASES, **words)  # type: ignore[arg-type]


def _files_of(folder: Path) -> tuple[Path, ...]:
    if not folder.exists():
        raise SettingsError(f"there is no folder {folder}")
    paths = dicom_files(folder)
    if not paths:
        raise SettingsError(f"no DICOM file (Part 10) in {folder}")
    return paths


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SettingsError(f"{out} is there already and not empty; name a new folder")


@contextmanager
def _private_node(base: Settings, asked: _Asked) -> Iterator[Node]:
    """Open a node with rows and files of its own for this one study."""
    with tempfile.TemporaryDirectory(prefix="sentinel-run-") as folder:
        site = replace(_settings(base, asked), data_dir=Path(folder))
        parts.prepare_data(site)
        node = parts.open_node(site)
        try:
            yield node
        finally:
            node.close()


def _settings(base: Settings, asked: _Asked) -> Settings:
    profile = asked.profile
    if profile not in base.profiles:
        raise SettingsError(f"there is no profile `{profile}`{nearest(profile, base.profiles)}")
    nowhere = DestinationSettings(
        name=_RULE, kind="folder", grade=DestinationGrade.TEST, profile=base.profiles[profile]
    )
    rule = RuleSettings(
        name=_RULE,
        plugin=asked.plugin,
        when=Condition(operator="all"),
        destinations=(nowhere.name,),
        shadow=True,
        quiet_s=0.0,
        max_age_days=float("inf"),
        rois=asked.rois,
        phases=asked.phases,
    )
    return replace(
        base,
        database_url="",
        peers=(),
        destinations=(nowhere,),
        releases=(),
        rules=(rule,),
        plugin_dirs=(*base.plugin_dirs, *(path.resolve() for path in asked.plugins)),
        devices=(asked.device,),
        quiet_s=0.0,
        receive=replace(base.receive, min_free_mb=64),
    )


def take_in(node: Node, paths: Sequence[Path]) -> None:
    """Store every file as a C-STORE would; say which ones were not taken."""
    intake = Intake(node.db, node.files, node.settings.receive)
    try:
        for path in track(paths, "read files", console=console, transient=True):
            answer = _store(intake, path)
            if answer.status != SUCCESS or answer.code not in {"NEW", "SAME", "VERSION"}:
                reason = answer.comment or answer.code
                console.print(f"not used: {path.name}: {reason}", markup=False, soft_wrap=True)
    finally:
        intake.close()


def _store(intake: Intake, path: Path) -> Answer:
    try:
        part10 = read_part10(path)
    except MalformedDataset as error:
        return Answer(status=0xC000, comment=str(error), code="MALFORMED")
    command = StoreCommand(
        sop_class_uid=part10.sop_class_uid,
        sop_instance_uid=part10.sop_instance_uid,
        transfer_syntax_uid=part10.transfer_syntax_uid,
    )
    upload = intake.begin(command, _HERE)
    with path.open("rb") as file:
        file.seek(part10.dataset_offset)
        while fragment := file.read(1 << 20):
            upload.write(fragment)
    return upload.finish()


def _compute(node: Node, clinical: Mapping[str, Said]) -> Job:
    """Complete and route the one study, and work until its job has ended."""
    from node.inference.devices import resolve_devices
    from node.intake.completion import sweep
    from node.intake.versions import resolve_versions
    from node.routing.dispatch import dispatch_complete
    from node.worker import Worker

    now = time.time()
    resolve_versions(node.db, node.files, now=now)
    if clinical and len(studies := list_studies(node.db)) == 1:
        enter(node, studies[0].study_instance_uid, clinical, way="command", now=now, as_text=True)
    sweep(node.db, node.settings, now=now + 1.0)
    dispatch_complete(node.db, node.files, node.settings, node.manifests, now=now)
    jobs = list_jobs(node.db)
    if len(jobs) != 1:
        raise NodeError(_no_job(node, len(jobs)))
    worker = Worker(node, device=resolve_devices(node.settings.devices)[0], owner="run")
    try:
        with console.status(f"run {jobs[0].plugin_name_version}"):
            while (job := get_job(node.db, jobs[0].id)).state not in _ENDED:
                if worker.work_once() is None:
                    raise _why_not(job)
    finally:
        worker.close()
    return job


def _why_not(job: Job) -> NodeError:
    """Return why a job cannot begin here, where no contour will come later."""
    if job.state is JobState.WAITING:
        return Refused(
            RefusalCode.ROI_MISSING,
            f"{job.reason}; put the outline into the folder, or say by which name it goes: "
            "--roi ROLE=NAME",
        )
    return NodeError(f"the job is {job.state}: {job.reason}")


def _no_job(node: Node, count: int) -> str:
    studies = len(list_studies(node.db))
    if studies > 1:
        return f"the folder holds {studies} studies; give one study at a time"
    if studies == 0:
        return "none of the files could be used; see the reasons above"
    return f"{count} jobs came of one study and one plugin"


def _write_out(node: Node, job: Job, out: Path) -> None:
    """Write evidence, pictures and result.json; what is there is left alone."""
    out.mkdir(parents=True, exist_ok=True)
    evidence = evidence_of_job(node.db, job.id)
    for one in evidence:
        shutil.copyfile(node.files.absolute(one.path), out / f"{one.role}.dcm")
    pictures = []
    folder = node.files.evidence_folder(job.id)
    for picture in sorted(folder.glob("*.png")) if folder.is_dir() else []:
        shutil.copyfile(picture, out / picture.name)
        pictures.append(picture.name)
    report = dict(get_report(node.db, job.id))
    for private in ("picture", "left_out", "priors"):
        report.pop(private, None)
    document = {
        "plugin": job.plugin_name_version,
        "digest": job.plugin_digest,
        "state": str(job.state),
        "code": job.reason_code,
        "reason": job.reason,
        "evidence": [f"{one.role}.dcm" for one in evidence],
        "pictures": pictures,
        **report,
    }
    (out / "result.json").write_text(json.dumps(document, indent=1))


def _sentence(job: Job, out: Path) -> str:
    if job.state is not JobState.COMPLETED:
        return f"{job.plugin_name_version} {job.state}: {job.reason_code}: {job.reason}"
    return f"{job.plugin_name_version} ran; evidence, pictures and result.json are in {out}"
