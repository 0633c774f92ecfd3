"""What the one settings file says, as frozen values. `node.settings_file` reads it from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from node.errors import SettingsError
from node.model import DestinationGrade
from node.profiles import PLAIN_PACS, PROFILES, ViewerProfile


@dataclass(frozen=True, kw_only=True)
class PeerSettings:
    """A remote AE that may talk to us: by calling AE title and address."""

    name: str
    ae_title: str
    #: Addresses or networks (``10.1.0.0/16``); () = any address.
    hosts: tuple[str, ...] = ()
    #: Where it listens, for queries; None: it only sends.
    port: int | None = None
    #: Called AE titles it may use; () = all of ours.
    called: tuple[str, ...] = ()
    #: Whether it may C-STORE (every peer may C-ECHO).
    store: bool = True
    #: Ask it for instance counts before a study is complete (S13).
    query: bool = False
    #: Character set of undeclared 8-bit text (S6), a DICOM defined term; "" = none.
    assumed_charset: str = ""
    max_associations: int = 8


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One node of a rule's condition tree, parsed once.

    `operator` is one of ``equals``, ``in``, ``has``, ``min``, ``max``, ``like``, ``matches``
    (with `name` and `value`), or ``not``, ``any``, ``all`` (with `children`).
    """

    operator: str
    #: DICOM keyword, ``called_ae`` or ``peer``; "" for not, any, all.
    name: str = ""
    value: str | float | tuple[str | float, ...] = ""
    children: tuple[Condition, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RoiSettings:
    """What a site says of one region that the plugin of a rule needs (S21)."""

    #: Globs for what people call it; case does not count. () = codes alone decide.
    labels: tuple[str, ...] = ()
    #: Is a structure set that nobody approved accepted?
    unapproved: bool = False
    #: Of several that could be meant: the object made last, whoever made it.
    latest: bool = False


#: What tells the contrast phase of a stack, in the order in which it is named; ``order`` only
#: where a site says so.
PHASE_EVIDENCE = ("code", "comments", "description", "protocol", "time", "order")


@dataclass(frozen=True, kw_only=True)
class PhaseSettings:
    """How a site tells the contrast phases of its series (S18)."""

    #: Words of the site for each phase of `PHASES`, beside ours.
    non_contrast: tuple[str, ...] = ()
    arterial: tuple[str, ...] = ()
    portal_venous: tuple[str, ...] = ()
    delayed: tuple[str, ...] = ()
    #: Words of ours that mean no phase here.
    ignore: tuple[str, ...] = ()
    #: What is asked, of `PHASE_EVIDENCE`.
    evidence: tuple[str, ...] = PHASE_EVIDENCE[:-1]
    #: Seconds from the start of the bolus to the acquisition; between them nobody knows.
    arterial_s: tuple[float, float] = (15.0, 45.0)
    portal_venous_s: tuple[float, float] = (55.0, 100.0)
    delayed_s: tuple[float, float] = (150.0, 1200.0)


#: Our words and times, nothing of a site.
PLAIN_PHASES = PhaseSettings()


@dataclass(frozen=True, kw_only=True)
class RuleSettings:
    """Header conditions → plugin (+ destinations)."""

    name: str
    plugin: str
    #: Always an ``all``; without children it matches everything.
    when: Condition
    destinations: tuple[str, ...] = ()
    quiet_s: float = 120.0
    max_age_days: float = 7.0
    #: How long after a refusal a destination may be told that the plugin did not run (S7).
    grace_s: float = 900.0
    #: Runs, but nothing is delivered.
    shadow: bool = False
    #: How long a job waits for a region that its plugin needs.
    roi_wait_s: float = 259200.0
    #: By ROI role of the plugin.
    rois: Mapping[str, RoiSettings] = field(default_factory=dict)
    #: For plugins whose inputs ask for a contrast phase.
    phases: PhaseSettings = PLAIN_PHASES


@dataclass(frozen=True, kw_only=True)
class DestinationSettings:
    """Where evidence goes."""

    name: str
    #: ``dicom``, ``orthanc`` or ``folder``.
    kind: str
    grade: DestinationGrade
    #: For ``dicom``.
    ae_title: str = ""
    host: str = ""
    port: int = 104
    #: Our calling AE title there; "" = the node's first.
    calling_ae: str = ""
    #: For ``orthanc``.
    url: str = ""
    username: str = ""
    #: Name of the environment variable that holds the password.
    password_env: str = ""
    #: For ``folder``.
    path: Path | None = None
    #: Which objects it gets, by what its viewers show (S27).
    profile: ViewerProfile = PLAIN_PACS
    #: ``ISO_IR 192`` or ``source`` (S6).
    charset: str = "ISO_IR 192"
    #: Which dated facts make a delivery done: ``sent`` or ``proven`` (S24).
    required: str = "proven"
    #: Whether it is told that a plugin did not run (S7).
    not_run: bool = False
    #: How results are taken back: ``note``, or ``delete`` (for ``orthanc``) (S8).
    withdraw: str = "note"
    timeout_s: float = 30.0


@dataclass(frozen=True, kw_only=True)
class ReleaseSettings:
    """A release by the site: one plugin digest, one rule, clinical destinations (S4)."""

    plugin: str
    digest: str
    rule: str
    by: str
    on: str


@dataclass(frozen=True, kw_only=True)
class ReceiveSettings:
    """Limits of the receiver."""

    max_associations: int = 32
    max_pdu_bytes: int = 131072
    #: An association that says nothing for so long is closed.
    idle_timeout_s: float = 60.0
    #: Below this much free space C-STORE is answered A700.
    min_free_mb: int = 1024
    #: Guards of header parsing: larger or deeper goes to quarantine.
    max_header_mb: int = 64
    max_depth: int = 32


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """The HTTP service: off without a port."""

    port: int | None = None
    bind: str = "127.0.0.1"
    #: PEM: the certificate with its chain, and its key without password.
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    #: Name of the environment variable that holds the token.
    token_env: str = ""
    #: Largest body that is taken.
    max_body_kb: int = 64
    #: A body that takes longer is refused.
    timeout_s: float = 10.0

    @property
    def loopback(self) -> bool:
        """Return whether only this computer can reach it."""
        try:
            return self.bind == "localhost" or ip_address(self.bind).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything an administrator may say."""

    data_dir: Path
    #: Our AE titles on the one port; the first is the one we call with.
    ae_titles: tuple[str, ...] = ("SENTINEL",)
    bind: str = "127.0.0.1"
    port: int = 11112
    #: "" = SQLite in the data folder.
    database_url: str = ""
    #: Accept unknown callers and called titles; for tests only.
    promiscuous: bool = False
    peers: tuple[PeerSettings, ...] = ()
    rules: tuple[RuleSettings, ...] = ()
    destinations: tuple[DestinationSettings, ...] = ()
    #: By name: the ready ones, and what the site says of them and of its own.
    profiles: Mapping[str, ViewerProfile] = field(default_factory=lambda: PROFILES)
    releases: tuple[ReleaseSettings, ...] = ()
    receive: ReceiveSettings = ReceiveSettings()
    web: WebSettings = WebSettings()
    #: Folders of plugin folders, beside the built-in ones.
    plugin_dirs: tuple[Path, ...] = ()
    #: Device slots: ``auto``, ``cpu``, ``cuda:0``…; one warm child each.
    devices: tuple[str, ...] = ("auto",)
    #: Quiet time of studies that no rule could match.
    quiet_s: float = 120.0
    #: Quiet time of a routed study to which only contours came.
    roi_quiet_s: float = 5.0
    log_level: str = "INFO"
    institution: str = ""
    device_serial_number: str = ""
    #: Environment values that the file refers to (never logged).
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def resolved_database_url(self) -> str:
        """Return the SQLAlchemy address of the rows."""
        return self.database_url or f"sqlite:///{self.data_dir / 'node.db'}"

    def destination(self, name: str) -> DestinationSettings:
        """Return the destination of that name.

        Raises
        ------
        SettingsError
            If it was taken out of the settings since the job that names it was made.
        """
        for one in self.destinations:
            if one.name == name:
                return one
        raise SettingsError(
            f"there is no destination {name} in the settings any more; put it back, or let the "
            "rules look at the study anew"
        )
