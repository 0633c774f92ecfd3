"""C-FIND at a query peer: how many images does it hold of each series (S13; PS3.4 C.6.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from pydicom import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from node.dicom.headers import quiet_pydicom
from node.dicom.network import RemoteAE, associate
from node.errors import DeliveryFailed, QueryFailed
from node.settings import PeerSettings

#: Modalities that never count (S13): reports, states, selections, segmentations, plans.
NOT_IMAGES = frozenset(
    {
        "ANN",
        "AU",
        "DOC",
        "FID",
        "KO",
        "M3D",
        "PLAN",
        "PR",
        "REG",
        "RTDOSE",
        "RTPLAN",
        "RTRECORD",
        "RTSTRUCT",
        "RWV",
        "SEG",
        "SMR",
        "SR",
        "STAIN",
        "TEXTUREMAP",
    }
)
_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING = (0xFF00, 0xFF01)
_SUCCESS = 0x0000
_TIMEOUT_S = 5.0


def count_images(
    peer: PeerSettings, study_instance_uid: str, *, calling_ae: str, timeout_s: float = _TIMEOUT_S
) -> Mapping[str, int]:
    """Return the number of instances by SeriesInstanceUID, image series of one study only.

    Parameters
    ----------
    peer : PeerSettings
        Asked at its first plain address and its port.
    timeout_s : float
        For the connection and for each answer.

    Raises
    ------
    QueryFailed
        If it cannot be reached, refuses, or breaks off: a part of an answer is no answer.
    """
    if peer.port is None:
        raise QueryFailed(f"{peer.name} has no port to query")
    remote = RemoteAE(
        host=_address(peer),
        port=peer.port,
        ae_title=peer.ae_title,
        calling_ae=calling_ae,
        timeout_s=timeout_s,
    )
    try:
        with quiet_pydicom(), associate(remote, [build_context(_STUDY_ROOT_FIND)]) as assoc:
            return dict(_counts(assoc, peer, study_instance_uid))
    except DeliveryFailed as failure:
        raise QueryFailed(f"{peer.name}: {failure}") from failure


def _counts(assoc: Association, peer: PeerSettings, study_uid: str) -> Iterator[tuple[str, int]]:
    query = _level("SERIES", StudyInstanceUID=study_uid)
    query.SeriesInstanceUID = ""
    query.Modality = ""
    query.NumberOfSeriesRelatedInstances = None
    for answer in _find(assoc, peer, query):
        uid = str(answer.get("SeriesInstanceUID", "") or "")
        if not uid or str(answer.get("Modality", "") or "") in NOT_IMAGES:
            continue
        number = _number(answer)
        yield uid, _count_series(assoc, peer, study_uid, uid) if number is None else number


def _count_series(assoc: Association, peer: PeerSettings, study_uid: str, series_uid: str) -> int:
    """Count at IMAGE level: NumberOfSeriesRelatedInstances is optional (PS3.4 C.6.2.1.3)."""
    query = _level("IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid)
    query.SOPInstanceUID = ""
    answers = _find(assoc, peer, query)
    return len({str(answer.get("SOPInstanceUID", "")) for answer in answers})


def _find(assoc: Association, peer: PeerSettings, query: Dataset) -> list[Dataset]:
    found: list[Dataset] = []
    for status, answer in assoc.send_c_find(query, _STUDY_ROOT_FIND):
        code = status.get("Status") if status else None
        if code is None:
            raise QueryFailed(f"{peer.name} did not answer the query")
        if code in _PENDING and answer is not None:
            found.append(answer)
        elif code != _SUCCESS:
            raise QueryFailed(f"{peer.name} answered the query with status {code:04X}")
    return found


def _address(peer: PeerSettings) -> str:
    for host in peer.hosts:
        try:
            return str(ip_address(host))
        except ValueError:
            if "/" not in host:
                return host
    raise QueryFailed(f"{peer.name} has no address to query, only networks")


def _level(level: str, **keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _number(answer: Dataset) -> int | None:
    try:
        value = answer.get("NumberOfSeriesRelatedInstances")
        return None if value is None else int(value)
    except (TypeError, ValueError):
        return None
