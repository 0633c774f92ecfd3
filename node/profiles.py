"""What a viewer is known to show, as frozen values: which objects a destination gets (S27)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Where BINARY ends without a profile: beyond it writers, archives and viewers suffer (E17).
MAX_SEG_FRAMES = 20_000

SEG_KINDS = ("binary", "labelmap", "fractional", "none")
SR_SHAPES = ("outline", "segment", "text")
PICTURES = ("images", "frames")
SR_CLASSES = ("comprehensive 3d", "comprehensive")
IOCM_KINDS = ("none", "quality", "safety")


@dataclass(frozen=True, kw_only=True)
class ViewerProfile:
    """How evidence is encoded for one kind of viewer, and what is known of that viewer.

    Attributes
    ----------
    seg : ``binary``, ``labelmap``, ``fractional`` or ``none``
    max_seg_frames : int
        Frames of one SEG; what does not fit then is refused.
    labelmap_beyond : bool
        Whether BINARY beyond ``max_seg_frames`` becomes a label map if no segments overlap.
    sr : ``outline``, ``segment`` or ``text``
        What a finding's group points at: its outline on each image, its segment, or nothing.
    sr_class : ``comprehensive 3d`` or ``comprehensive``
        SOP class of all reports; the second is for archives that refuse the first (AIR-6), and
        holds the same tree.
    secondary_capture : bool
        Pictures with burned-in outlines and values, for viewers that show no SEG.
    pictures : ``images`` or ``frames``
        Each of them an image of one series, which every viewer shows; or those of one input as
        frames of one image, for a viewer that takes images without a place for one volume.
    key_objects : bool
        A Key Object Selection of the findings' images.
    presentation_state : bool
        Not written by this version, so it must be False. It would be opt-in only: many
        archives apply one by themselves and cover pathology (S27).
    parametric_map : bool
        The plugin's maps as Parametric Maps.
    iocm : ``none``, ``quality`` or ``safety``
        Title of the rejection note that withdraws a result (S8).
    tested : str
        Where it was proven, or ``untested``.
    """

    name: str
    seg: str = "binary"
    max_seg_frames: int = MAX_SEG_FRAMES
    labelmap_beyond: bool = True
    sr: str = "segment"
    sr_class: str = "comprehensive 3d"
    secondary_capture: bool = False
    pictures: str = "images"
    key_objects: bool = False
    presentation_state: bool = False
    parametric_map: bool = True
    iocm: str = "none"
    tested: str = "untested"

    def __post_init__(self) -> None:
        for key, value, known in (
            ("seg", self.seg, SEG_KINDS),
            ("sr", self.sr, SR_SHAPES),
            ("sr_class", self.sr_class, SR_CLASSES),
            ("pictures", self.pictures, PICTURES),
            ("iocm", self.iocm, IOCM_KINDS),
        ):
            if value not in known:
                raise ValueError(f"{key} = {value!r} is none of {', '.join(known)}")
        if self.max_seg_frames < 1:
            raise ValueError("max_seg_frames must be at least 1")
        if self.presentation_state:
            raise ValueError("presentation states are not written by this version")
        if self.seg == "none" and self.sr == "segment":
            raise ValueError('sr = "segment" points at a SEG, and seg = "none" writes none')

    @property
    def encoding(self) -> str:
        """Return all that decides the bytes of the evidence, as text for its UIDs (S1).

        Destinations with equal text get the same objects.

        Examples
        --------
        >>> STANDARD.encoding
        'seg=binary/20000 sr=segment sc=0 ko=0 ps=0 pm=1'
        """
        flags = (
            ("sc", self.secondary_capture),
            ("ko", self.key_objects),
            ("ps", self.presentation_state),
            ("pm", self.parametric_map),
        )
        said = " ".join(f"{name}={int(value)}" for name, value in flags)
        # Last and only where it is not as usual: all other objects keep the UIDs they had.
        beyond = "" if self.labelmap_beyond else " lm=0"
        plain = " sr3d=0" if self.sr_class == "comprehensive" else ""
        frames = " scmf=1" if self.secondary_capture and self.pictures == "frames" else ""
        return f"seg={self.seg}/{self.max_seg_frames} sr={self.sr} {said}{beyond}{plain}{frames}"


#: For readers of the whole standard: research archives, dcmqi, highdicom, 3D Slicer.
STANDARD = ViewerProfile(name="standard", tested="dcmqi 1.5.7, highdicom 0.28.2")

#: An unknown site: pictures and text show everywhere, and nothing else is promised.
PLAIN_PACS = ViewerProfile(
    name="plain_pacs", seg="none", sr="text", secondary_capture=True, parametric_map=False
)

#: FRACTIONAL spins for ever; groups without coordinates crash it unless titled 126001.
OHIF = ViewerProfile(name="ohif", sr="outline", parametric_map=False, tested="OHIF 3.13.2")

#: Takes BINARY with the segment named in every frame; LABELMAP and FRACTIONAL are refused, and so
#: are several images without a place in one series.
DWV = ViewerProfile(
    name="dwv",
    labelmap_beyond=False,
    secondary_capture=True,
    pictures="frames",
    parametric_map=False,
    tested="dwv 0.36.4",
)

#: 4.6.0 disables a SEG of more than 400 frames (nroduit/Weasis#680).
WEASIS = ViewerProfile(name="weasis", max_seg_frames=400, key_objects=True, parametric_map=False)

#: What a viewer was seen not to show, by ready profile and SEG kind: docs/viewers.md.
NOT_SHOWN: Mapping[tuple[str, str], str] = {
    ("ohif", "fractional"): "OHIF 3.13.2 loads it for ever and shows nothing",
    ("dwv", "fractional"): "dwv 0.36.4 refuses it",
    ("dwv", "labelmap"): "dwv 0.36.4 refuses it",
}

#: Ready profiles by name; `plain_pacs` is the default for unknown sites.
PROFILES: Mapping[str, ViewerProfile] = {
    profile.name: profile for profile in (PLAIN_PACS, OHIF, DWV, WEASIS, STANDARD)
}
