"""Revision 0005: clinical values that persons enter, and those that jobs use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the two tables."""
    op.create_table(
        "clinical_value",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("entered_by", sa.String(length=64), nullable=False),
        sa.Column("way", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["study.id"], name=op.f("fk_clinical_value_study_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clinical_value")),
    )
    op.create_index("ix_clinical_value_study", "clinical_value", ["study_id", "name"], unique=False)
    op.create_table(
        "job_clinical",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_clinical_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_clinical")),
    )
