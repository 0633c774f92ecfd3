"""What one run does, drawn from its seed before anything starts."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

ROLES = ("receiver", "engine", "child", "supervisor")
#: How long faults are thrown; then everything is healed and nothing may be missing.
STORM_S = 5.5
#: How an archive may behave, beside working. `lost answer` keeps the object and then aborts.
ARCHIVE_MODES = (
    "down", "slow", "mute", "A700", "A900", "B000", "B006", "B007", "C000", "0110", "abort",
    "lost answer",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Image:
    """One version of one image: `version` is as sent first, "pixels" or "header" changed."""

    study: int
    number: int
    version: str = ""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One association of a sender."""

    images: tuple[Image, ...]
    #: ``release``, ``abort`` after the last, or ``cut``: the connection breaks inside an object.
    end: str = "release"
    pause_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens `at_s` seconds after the senders started."""

    at_s: float
    kind: str
    target: str = ""
    for_s: float = 0.0
    amount: float = 0.0

    def __str__(self) -> str:
        words = [f"{self.at_s:5.2f} s", self.kind, self.target]
        words += [f"for {self.for_s:.2f} s"] if self.for_s else []
        words += [f"{self.amount:+.0f}"] if self.amount else []
        return " ".join(word for word in words if word)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything random of one run."""

    seed: int
    #: Slices of each study.
    studies: tuple[int, ...]
    #: One tuple of batches a sender.
    senders: tuple[tuple[Batch, ...], ...]
    faults: tuple[Fault, ...]
    plugin_s: float
    min_free_mb: int
    lines: tuple[str, ...] = field(default=(), compare=False)

    @property
    def conflicts(self) -> frozenset[int]:
        """Studies with an image of which two versions with other pixels are sent."""
        return self._with("pixels")

    @property
    def corrections(self) -> frozenset[int]:
        """Studies with an image that comes again with another header."""
        return self._with("header")

    def _with(self, version: str) -> frozenset[int]:
        batches = [batch for batches in self.senders for batch in batches]
        return frozenset(i.study for b in batches for i in b.images if i.version == version)

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: studies of {self.studies} slices, plugin {self.plugin_s} s"]
        lines += [f"conflict in {sorted(self.conflicts)}, correction in {sorted(self.corrections)}"]
        for number, batches in enumerate(self.senders):
            ends = ", ".join(f"{len(b.images)} {b.end}" for b in batches)
            lines.append(f"sender {number}: {ends}")
        return "\n  ".join([*lines, *map(str, self.faults)])


def draw(seed: int) -> Plan:
    """Return the plan of a seed: always the same one."""
    chance = random.Random(f"chaos {seed}")
    studies = tuple(chance.randint(6, 9) for _ in range(chance.choice((2, 2, 3))))
    faults = sorted(
        (_fault(chance) for _ in range(chance.randint(4, 8))), key=lambda fault: fault.at_s
    )
    return Plan(
        seed=seed,
        studies=studies,
        senders=_senders(chance, studies),
        faults=tuple(faults),
        plugin_s=round(chance.uniform(0.2, 1.5), 2),
        min_free_mb=chance.choice((0, 2)),
    )


def _senders(chance: random.Random, studies: tuple[int, ...]) -> tuple[tuple[Batch, ...], ...]:
    """Split the images over one to three senders, some twice, some in another version."""
    count = chance.randint(1, 3)
    images = [Image(study=s, number=n) for s, size in enumerate(studies) for n in range(size)]
    order = chance.choice(("by study", "interleaved", "shuffled"))
    if order == "interleaved":
        images.sort(key=lambda image: image.number)
    elif order == "shuffled":
        chance.shuffle(images)
    lots: list[list[Image]] = [images[number::count] for number in range(count)]
    for lot in lots:
        _spice(chance, lot)
    return tuple(tuple(_batches(chance, lot)) for lot in lots)


def _spice(chance: random.Random, lot: list[Image]) -> None:
    """Send some images again: as they are, with other pixels, with another header."""
    for image in chance.sample(lot, min(len(lot), chance.randint(0, 4))):
        lot.insert(chance.randint(0, len(lot)), image)
    for version, share in (("pixels", 0.12), ("header", 0.12)):
        if chance.random() < share:
            image = chance.choice(lot)
            changed = Image(study=image.study, number=image.number, version=version)
            lot.insert(chance.randint(0, len(lot)), changed)


def _batches(chance: random.Random, lot: list[Image]) -> list[Batch]:
    batches = []
    while lot:
        size = chance.randint(2, 9)
        batches.append(
            Batch(
                images=tuple(lot[:size]),
                end=chance.choices(("release", "abort", "cut"), (6, 2, 2))[0],
                pause_s=round(chance.uniform(0.0, 0.6), 2),
            )
        )
        lot = lot[size:]
    return batches


def _fault(chance: random.Random) -> Fault:
    kind = chance.choices(
        ("kill", "stop", "term", "archive", "disk full", "clock", "read-only", "locked"),
        (6, 3, 3, 5, 1.5, 1.5, 1.5, 1.5),
    )[0]
    # Nothing computes or leaves in the first seconds; the archive is spoiled when it does.
    early = 2.0 if kind == "archive" else 0.1
    at_s = round(chance.uniform(early, STORM_S), 2)
    short = round(chance.uniform(0.3, 2.5), 2)
    if kind == "archive":
        mode = chance.choice(ARCHIVE_MODES)
        if mode == "down":
            for_s = round(chance.uniform(1, 5), 2)
            return Fault(at_s=at_s, kind=kind, target=mode, for_s=for_s)
        return Fault(at_s=at_s, kind=kind, target=mode, amount=chance.randint(1, 3))
    if kind in {"kill", "term", "stop"}:
        role = chance.choice(ROLES)
        for_s = short if kind == "stop" else 0.0
        return Fault(
            at_s=max(at_s, 2.5 if role == "child" else 0.0), kind=kind, target=role, for_s=for_s
        )
    if kind == "clock":
        step = chance.choice((-600, -60, -5, 5, 40, 90, 600))
        return Fault(at_s=at_s, kind=kind, amount=step)
    if kind == "disk full":
        left_kb = chance.choice((0, 16, 200))
        return Fault(at_s=at_s, kind=kind, for_s=short, amount=left_kb)
    longest = 11.0 if kind == "locked" and chance.random() < 0.1 else short
    return Fault(at_s=at_s, kind=kind, for_s=longest)
