"""What a destination takes: every kind of object that we could send, proposed without data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pydicom.uid import ExplicitVRLittleEndian

from node.delivery.association import associated, remote_of
from node.delivery.echo import echo_destination, naming_the_place
from node.dicom.network import requested_contexts
from node.profiles import ViewerProfile
from node.settings import DestinationSettings

#: What all evidence is written in.
SENT_IN = str(ExplicitVRLittleEndian)
#: Transfer syntaxes that are proposed, by UID.
SYNTAXES: Mapping[str, str] = MappingProxyType(
    {
        SENT_IN: "Explicit VR LE",
        "1.2.840.10008.1.2": "Implicit VR LE",
        "1.2.840.10008.1.2.1.99": "Deflated",
        "1.2.840.10008.1.2.5": "RLE",
        "1.2.840.10008.1.2.8.1": "Deflated Frames",
        "1.2.840.10008.1.2.4.70": "JPEG Lossless",
        "1.2.840.10008.1.2.4.80": "JPEG-LS",
        "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    }
)
_PLAIN = tuple(SYNTAXES)[:3]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of object, or service, that is proposed."""

    name: str
    sop_class_uid: str
    syntaxes: tuple[str, ...] = _PLAIN


SEG = Kind(
    name="Segmentation",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4",
    syntaxes=tuple(SYNTAXES)[:5],
)
LABEL_MAP = Kind(
    name="Label Map Segmentation",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.66.7",
    syntaxes=tuple(SYNTAXES),
)
SR_3D = Kind(name="Comprehensive 3D SR", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34")
SR = Kind(name="Comprehensive SR", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.33")
MAP = Kind(
    name="Parametric Map",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.30",
    syntaxes=tuple(SYNTAXES)[:5],
)
PRESENTATION = Kind(
    name="Grayscale Presentation State", sop_class_uid="1.2.840.10008.5.1.4.1.1.11.1"
)
CAPTURE = Kind(
    name="Secondary Capture",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.7",
    syntaxes=tuple(SYNTAXES),
)
CAPTURES = Kind(
    name="Secondary Capture, frames in true colour",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.7.4",
    syntaxes=tuple(SYNTAXES),
)
KEY_OBJECTS = Kind(name="Key Object Selection", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59")
PDF = Kind(name="Encapsulated PDF", sop_class_uid="1.2.840.10008.5.1.4.1.1.104.1")
COMMITMENT = Kind(
    name="Storage Commitment", sop_class_uid="1.2.840.10008.1.20.1", syntaxes=_PLAIN[:2]
)
KINDS = (
    *(SEG, LABEL_MAP, SR_3D, SR, MAP, PRESENTATION, CAPTURE, CAPTURES, KEY_OBJECTS),
    *(PDF, COMMITMENT),
)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What a destination takes, and whether that is what its profile sends."""

    #: Who answered.
    place: str
    #: Names of the transfer syntaxes of each kind, () = refused; empty where nothing is
    #: negotiated.
    accepted: Mapping[Kind, tuple[str, ...]]
    #: When the profile sends a kind; not in it: never.
    wanted: Mapping[Kind, str]
    notes: tuple[str, ...] = ()
    #: What the profile wants and the destination refuses.
    warnings: tuple[str, ...] = ()
    #: What it sends only now and then, and the destination refuses.
    cautions: tuple[str, ...] = ()


def probe_destination(settings: DestinationSettings, own_ae: str, *, maps: bool) -> Probe:
    """Ask a destination what it takes; nothing of a patient is sent.

    Parameters
    ----------
    own_ae : str
        The node's first AE title, for destinations without a `calling_ae` of their own.
    maps : bool
        Whether a plugin that sends there makes maps.

    Raises
    ------
    DeliveryFailed
        If it does not answer or does not let us in.
    """
    wanted = wanted_kinds(settings.profile, maps=maps)
    if settings.kind == "dicom":
        accepted = naming_the_place(settings, own_ae, lambda: _propose(settings, own_ae))
        return Probe(
            place=f"{settings.ae_title} at {settings.host}:{settings.port}",
            accepted=accepted,
            wanted=wanted,
            warnings=tuple(_warnings(settings.profile, wanted, accepted)),
            cautions=cautions(settings.profile, accepted, maps=maps),
        )
    place = echo_destination(settings, own_ae)
    notes = _notes_of_orthanc(settings) if settings.kind == "orthanc" else _FOLDER
    return Probe(place=place, accepted={}, wanted=wanted, notes=notes)


def wanted_kinds(profile: ViewerProfile, *, maps: bool = False) -> Mapping[Kind, str]:
    """Return which kinds a profile sends, and when.

    Examples
    --------
    >>> from node.profiles import PLAIN_PACS
    >>> [kind.name for kind in wanted_kinds(PLAIN_PACS)]
    ['Comprehensive 3D SR', 'Secondary Capture']
    """
    withdraws = profile.iocm != "none"
    falls_back = profile.seg == "binary" and profile.labelmap_beyond
    found = (
        (SEG, profile.seg in ("binary", "fractional"), ALWAYS),
        (SEG, profile.seg == "labelmap", "if segments overlap"),
        (LABEL_MAP, profile.seg == "labelmap", ALWAYS),
        (LABEL_MAP, falls_back, f"over {profile.max_seg_frames} frames"),
        (SR_3D, profile.sr_class == "comprehensive 3d", ALWAYS),
        (SR, profile.sr_class == "comprehensive", ALWAYS),
        (MAP, profile.parametric_map and maps, ALWAYS),
        (PRESENTATION, profile.presentation_state, ALWAYS),
        (CAPTURE, profile.secondary_capture and profile.pictures == "images", ALWAYS),
        (CAPTURES, profile.secondary_capture and profile.pictures == "frames", ALWAYS),
        (KEY_OBJECTS, profile.key_objects, ALWAYS),
        (KEY_OBJECTS, withdraws and not profile.key_objects, TO_WITHDRAW),
    )
    return {kind: when for kind, wants, when in found if wants}


#: When a kind is sent: what is refused then is a warning.
ALWAYS = "yes"
TO_WITHDRAW = "to withdraw"
_AS_A_RULE = (ALWAYS, TO_WITHDRAW)
_FOLDER = ("A folder takes every file; who reads it is not asked.",)


def suits(
    profile: ViewerProfile, accepted: Mapping[Kind, Sequence[str]], *, maps: bool = False
) -> bool:
    """Return whether a destination takes all that a profile sends as a rule."""
    return not any(_warnings(profile, wanted_kinds(profile, maps=maps), accepted))


def cautions(
    profile: ViewerProfile, accepted: Mapping[Kind, Sequence[str]], *, maps: bool = False
) -> tuple[str, ...]:
    """Return what a profile sends now and then, a label map above all, and is refused."""
    return tuple(
        f"profile {profile.name} sends {kind.name} {when}, and the destination {how}: such a "
        "result does not arrive there"
        for kind, when in wanted_kinds(profile, maps=maps).items()
        if when not in _AS_A_RULE and (how := _refusal(accepted.get(kind, ())))
    )


def _propose(settings: DestinationSettings, own_ae: str) -> Mapping[Kind, tuple[str, ...]]:
    """Propose each kind in each transfer syntax by itself, so that each is answered."""
    pairs = [(kind.sop_class_uid, syntax) for kind in KINDS for syntax in kind.syntaxes]
    with associated(remote_of(settings, own_ae), requested_contexts(pairs)) as link:
        return {
            kind: tuple(
                SYNTAXES[syntax]
                for syntax in kind.syntaxes
                if link.accepts(kind.sop_class_uid, syntax)
            )
            for kind in KINDS
        }


def _warnings(
    profile: ViewerProfile, wanted: Mapping[Kind, str], accepted: Mapping[Kind, Sequence[str]]
) -> Iterator[str]:
    for kind, when in wanted.items():
        how = _refusal(accepted.get(kind, ()))
        if when not in _AS_A_RULE or not how:
            continue
        why = " to withdraw a result" if when == TO_WITHDRAW else ""
        other = kind is SR_3D and not _refusal(accepted.get(SR, ()))
        hint = f'; it takes {SR.name}: sr_class = "comprehensive" in a profile' if other else ""
        yield (
            f"profile {profile.name} sends {kind.name} in {SYNTAXES[SENT_IN]}{why}, and the "
            f"destination {how}{hint}"
        )


def _refusal(taken: Sequence[str]) -> str:
    """Return how a destination does not take what we write, "" if it does."""
    if SYNTAXES[SENT_IN] in taken:
        return ""
    return f"takes it only in {', '.join(taken)}" if taken else "refuses it"


def _notes_of_orthanc(settings: DestinationSettings) -> tuple[str, ...]:
    from node.delivery.orthanc import plugins_of

    plugins = plugins_of(settings)
    there = "is there" if "dicom-web" in plugins else "is not there"
    return (
        "Over its REST interface nothing is negotiated: it takes every kind of object as it is.",
        f"Its DICOMweb plugin, by which OHIF and other viewers read, {there}.",
    )
