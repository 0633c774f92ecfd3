"""Revision 0002: evidence knows its encoding, a delivery the viewer profile of its destination."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; "" in the rows that were there before."""
    if op.get_bind().dialect.name == "sqlite":
        _rebuild()
        return
    for table, column, kind in (
        ("evidence", "encoding", sa.Text()),
        ("delivery", "profile", sa.String(length=64)),
    ):
        op.add_column(table, sa.Column(column, kind, nullable=False, server_default=""))
        op.alter_column(table, column, server_default=None)
    op.drop_constraint("uq_evidence_job_id_role", "evidence")
    op.create_unique_constraint(
        op.f("uq_evidence_job_id_encoding_role"), "evidence", ["job_id", "encoding", "role"]
    )


def _rebuild() -> None:
    """Do the same where a table's constraints cannot be altered: write both tables anew.

    Deliveries refer to evidence, so theirs goes first and comes last.
    """
    kept = ("evidence", "delivery")
    for table in kept:
        op.execute(f"CREATE TEMPORARY TABLE kept_{table} AS SELECT * FROM {table}")
    for table in reversed(kept):
        op.drop_table(table)
    _create_evidence()
    _create_delivery()
    for table, column in (("evidence", "encoding"), ("delivery", "profile")):
        rows = op.get_bind().execute(sa.text(f"PRAGMA temp.table_info(kept_{table})")).all()
        names = ", ".join(row.name for row in rows)
        op.execute(f"INSERT INTO {table} ({names}, {column}) SELECT {names}, '' FROM kept_{table}")
        op.drop_table(f"kept_{table}")


def _create_evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=24), nullable=False),
        sa.Column("encoding", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("sop_class_uid", sa.String(length=64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_evidence_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evidence")),
        sa.UniqueConstraint(
            "job_id", "encoding", "role", name=op.f("uq_evidence_job_id_encoding_role")
        ),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_evidence_sop_instance_uid")),
    )


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("evidence_id", sa.Integer(), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("profile", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.Float(), nullable=False),
        sa.Column("sent_at", sa.Float(), nullable=True),
        sa.Column("committed_at", sa.Float(), nullable=True),
        sa.Column("proven_at", sa.Float(), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=80), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["evidence.id"], name=op.f("fk_delivery_evidence_id")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_delivery_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint(
            "evidence_id", "destination", name=op.f("uq_delivery_evidence_id_destination")
        ),
    )
    op.create_index("ix_delivery_job", "delivery", ["job_id"], unique=False)
    op.create_index(
        "ix_delivery_state_next", "delivery", ["state", "next_attempt_at"], unique=False
    )
