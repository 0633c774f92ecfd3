"""Which destinations of a job get the same objects: one edition of its evidence for each group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from node.manifest import Manifest
from node.model import Addressee, DestinationGrade, Job
from node.profiles import STANDARD, ViewerProfile
from node.settings import DestinationSettings, Settings
from node.settings_check import is_released

_UNICODE = "ISO_IR 192"


@dataclass(frozen=True, kw_only=True)
class Edition:
    """What of its destinations decides the bytes of a job's evidence (S1)."""

    profile: ViewerProfile = STANDARD
    charset: str = _UNICODE
    #: PRODUCT only where the site released this plugin for this rule (S4).
    content_qualification: str = "RESEARCH"
    destinations: tuple[DestinationSettings, ...] = ()

    @property
    def encoding(self) -> str:
        """Return its name in the rows; destinations with an equal one share all objects.

        Examples
        --------
        >>> Edition().encoding
        'seg=binary/20000 sr=segment sc=0 ko=0 ps=0 pm=1, ISO_IR 192, RESEARCH'
        """
        return f"{self.profile.encoding}, {self.charset}, {self.content_qualification}"

    @property
    def addressees(self) -> tuple[Addressee, ...]:
        """Return its destinations as the outbox wants them."""
        return tuple(
            Addressee(destination=one.name, profile=one.profile.name, encoding=self.encoding)
            for one in self.destinations
        )


def editions_of(
    job: Job,
    settings: Settings,
    manifest: Manifest,
    *,
    declared: Sequence[str],
    feeds: bool = False,
) -> tuple[Edition, ...]:
    """Return the editions that the destinations of a job need, in the rule's order.

    Parameters
    ----------
    declared : sequence of str
        Specific Character Set of the source, () where it declares none.
    feeds : bool
        Whether another plugin takes the result as its region: then one edition holds a
        segmentation, even if no destination wants any.

    Returns
    -------
    tuple of Edition
        Without destinations one edition of all that the standard has.

    Raises
    ------
    SettingsError
        If a destination is not in the settings any more.
    """
    grouped: dict[str, Edition] = {}
    for name in job.destinations:
        one = _edition(settings.destination(name), job, settings, manifest, declared)
        known = grouped.get(one.encoding, one)
        others = () if known is one else known.destinations
        grouped[one.encoding] = replace(known, destinations=(*others, *one.destinations))
    made = tuple(grouped.values()) or (Edition(),)
    readable = any(one.profile.seg in ("binary", "labelmap") for one in made)
    return made if readable or not feeds else (*made, Edition())


def _edition(
    to: DestinationSettings,
    job: Job,
    settings: Settings,
    manifest: Manifest,
    declared: Sequence[str],
) -> Edition:
    clinical = to.grade is DestinationGrade.CLINICAL
    released = clinical and is_released(manifest, job.rule, settings.releases)
    return Edition(
        profile=to.profile,
        charset="\\".join(declared) if to.charset == "source" and declared else _UNICODE,
        content_qualification="PRODUCT" if released else "RESEARCH",
        destinations=(to,),
    )
