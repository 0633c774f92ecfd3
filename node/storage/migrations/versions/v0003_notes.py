"""Revision 0003: withdrawals (S8), and what became of telling that a job did not run (S7)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the two tables, and an index for what was proven lately."""
    op.create_index("ix_delivery_proven", "delivery", ["proven_at"], unique=False)
    op.create_table(
        "withdrawal",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("see", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("means", sa.String(length=16), nullable=False),
        sa.Column("note_id", sa.Integer(), nullable=True),
        sa.Column("next_look_at", sa.Float(), nullable=False),
        sa.Column("looked_at", sa.Float(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_withdrawal_delivery_id")
        ),
        sa.ForeignKeyConstraint(["note_id"], ["evidence.id"], name=op.f("fk_withdrawal_note_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_withdrawal")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_withdrawal_delivery_id")),
    )
    op.create_index("ix_withdrawal_state", "withdrawal", ["state", "next_look_at"], unique=False)
    op.create_table(
        "refusal_note",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=40), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("next_look_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_refusal_note_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refusal_note")),
        sa.UniqueConstraint("job_id", "attempt", name=op.f("uq_refusal_note_job_id_attempt")),
    )
