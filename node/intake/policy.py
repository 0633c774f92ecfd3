"""Who may associate, decided from titles and addresses alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from node.settings import PeerSettings, Settings

_UNKNOWN_PEER_ASSOCIATIONS = 8


class Rejection(Enum):
    """Why an association is refused: result, source, reason (PS3.8 9.3.4)."""

    CALLING_AE_NOT_RECOGNISED = (1, 1, 3)
    CALLED_AE_NOT_RECOGNISED = (1, 1, 7)
    #: Transient: the peer may come again.
    LOCAL_LIMIT_EXCEEDED = (2, 3, 2)
    #: Transient: the rows cannot be written just now.
    TEMPORARY_CONGESTION = (2, 3, 1)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """An association that may open, and what it may do."""

    calling_ae: str
    called_ae: str
    #: Name of the configured peer; "" for an unknown one on a promiscuous node.
    peer: str
    may_store: bool
    max_associations: int


def admit(
    settings: Settings, *, calling_ae: str, called_ae: str, address: str
) -> Admission | Rejection:
    """Decide on an association request.

    Parameters
    ----------
    settings : Settings
        Peers, our titles, and whether the node is promiscuous.
    calling_ae, called_ae : str
        As the request names them; padding does not count, case does (PS3.5 6.2).
    address : str
        Where the connection comes from.
    """
    calling_ae, called_ae = calling_ae.strip(), called_ae.strip()
    peer = _find_peer(settings.peers, calling_ae, address)
    if peer is None and not settings.promiscuous:
        return Rejection.CALLING_AE_NOT_RECOGNISED
    if not settings.promiscuous and called_ae not in settings.ae_titles:
        return Rejection.CALLED_AE_NOT_RECOGNISED
    if peer is not None and peer.called and called_ae not in peer.called:
        return Rejection.CALLED_AE_NOT_RECOGNISED
    return Admission(
        calling_ae=calling_ae,
        called_ae=called_ae,
        peer=peer.name if peer else "",
        may_store=peer.store if peer else True,
        max_associations=peer.max_associations if peer else _UNKNOWN_PEER_ASSOCIATIONS,
    )


def _find_peer(peers: Iterable[PeerSettings], calling_ae: str, address: str) -> PeerSettings | None:
    came_from = _address(address)
    for peer in peers:
        if peer.ae_title.strip() == calling_ae and _is_at(peer, came_from):
            return peer
    return None


def _is_at(peer: PeerSettings, came_from: IPv4Address | IPv6Address) -> bool:
    return not peer.hosts or any(came_from in ip_network(host, strict=False) for host in peer.hosts)


def _address(text: str) -> IPv4Address | IPv6Address:
    found = ip_address(text.partition("%")[0])
    # A socket on :: sees IPv4 callers as ::ffff:a.b.c.d.
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
