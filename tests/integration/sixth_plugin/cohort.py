import tomllib
from pathlib import Path

import numpy as np

from node.phantom.subject import Subject
from node.plugin import Case, Labels, Volume

LAW = tomllib.loads(Path(__file__).with_name("cohort.toml").read_text(encoding="utf-8"))
SHAPE = (12, 40, 40)


def subjects(split, count, *, seed):
    return [(split, seed, index) for index in range(count)]


def render(plan):
    split, seed, index = plan
    streams = np.random.SeedSequence([seed, index]).spawn(2)
    anatomy, scanner = (np.random.default_rng(stream) for stream in streams)
    radius = anatomy.uniform(*LAW["diameter_mm"]) / 2
    has_ball = anatomy.random() >= LAW["ball_free"]
    affine = np.diag([1.5, 1.5, 3.0, 1.0])[:, [2, 1, 0, 3]]
    z, y, x = np.indices(SHAPE) * np.array([3.0, 1.5, 1.5])[:, None, None, None]
    centre = anatomy.uniform(15, 20), anatomy.uniform(25, 35), anatomy.uniform(25, 35)
    ball = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2
    ball &= has_ball
    hu = np.where(ball, anatomy.uniform(*LAW["ball_hu"]), 0.0)
    hu += scanner.normal(0, LAW["noise_hu"], SHAPE)
    ct = Volume(array=hu.round().astype(np.int16), affine=affine, unit="[hnsf'U]", modality="CT")
    return Subject(
        patient=f"{split}-{index}",
        institution="inst-1",
        case=Case(volumes={"ct": ct}),
        labels=Labels(masks={"ball": ball}),
        facts={"diameter_mm": 2 * radius},
    )
