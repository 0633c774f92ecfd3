"""Rows of who is here now: open associations of peers, and the one engine that sweeps."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update

from node.storage.database import Database
from node.storage.statements import columns_of, insert_if_absent
from node.storage.tables import association, leader


@dataclass(frozen=True, kw_only=True)
class OpenAssociation:
    """A peer that is connected now."""

    id: str
    peer: str
    calling_ae: str
    #: Which receiver process serves it.
    receiver: str
    opened_at: float


# --- associations ----------------------------------------------------------------------------


def open_association(db: Database, new: OpenAssociation, *, limit: int) -> bool:
    """Note that a peer connected; return False, noting nothing, if `limit` are open.

    Counted by calling AE title over all receiver processes (E5).
    """
    count = select(func.count()).where(association.c.calling_ae == new.calling_ae)
    with db.write() as connection:
        if connection.execute(count).scalar_one() >= limit:
            return False
        names = tuple(OpenAssociation.__dataclass_fields__)
        connection.execute(insert(association).values(**columns_of(new, names)))
    return True


def close_association(db: Database, association_id: str) -> None:
    """Forget an association that ended."""
    with db.write() as connection:
        connection.execute(delete(association).where(association.c.id == association_id))


def clear_receiver(db: Database, receiver: str) -> int:
    """Forget the associations of a receiver that died; return how many."""
    with db.write() as connection:
        gone = connection.execute(delete(association).where(association.c.receiver == receiver))
    return int(gone.rowcount)


def open_associations(db: Database, *, peer: str | None = None) -> tuple[OpenAssociation, ...]:
    """Return who is connected now; with `peer` only that one's (S13)."""
    query = select(association).order_by(association.c.opened_at)
    if peer is not None:
        query = query.where(association.c.peer == peer)
    names = tuple(OpenAssociation.__dataclass_fields__)
    with db.read() as connection:
        return tuple(OpenAssociation(**columns_of(row, names)) for row in connection.execute(query))


# --- leader ----------------------------------------------------------------------------------


def acquire_leadership(db: Database, name: str, owner: str, now: float, lease_s: float) -> bool:
    """Take or renew the lease `name`; return whether `owner` holds it until now + lease_s (E1)."""
    values = {"name": name, "owner": owner, "lease_until": now + lease_s}
    mine_or_over = (leader.c.owner == owner) | (leader.c.lease_until <= now)
    with db.write() as connection:
        insert_if_absent(connection, leader, values)
        taken = connection.execute(
            update(leader).where(leader.c.name == name, mine_or_over).values(**values)
        )
    return taken.rowcount == 1


def resign_leadership(db: Database, name: str, owner: str) -> None:
    """Give the lease back, so that another engine need not wait for its end."""
    with db.write() as connection:
        connection.execute(delete(leader).where(leader.c.name == name, leader.c.owner == owner))
