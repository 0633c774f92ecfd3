"""Revision 0004: what may be a prior of a later study (S10)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table, empty: jobs of before are no priors, since nobody kept their places."""
    op.create_table(
        "prior",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), nullable=False),
        sa.Column("study_date", sa.String(length=16), nullable=False),
        sa.Column("study_time", sa.String(length=24), nullable=False),
        sa.Column("series_description", sa.Text(), nullable=False),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_prior_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_prior")),
    )
    op.create_index("ix_prior_patient", "prior", ["patient_id", "issuer_of_patient_id"])
