"""The tables: every column that any row of the node has. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

study = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("revision", Integer, nullable=False, default=0),
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False),
    # Last time that the images changed; contours may re-open the study too, but are none (S14).
    Column("last_image_at", Float, nullable=False),
    Column("completed_at", Float),
    Column("completed_reason", Text, nullable=False, default=""),
    Column("calling_ae", String(16), nullable=False, default=""),
    Column("called_ae", String(16), nullable=False, default=""),
    Column("peer", String(64), nullable=False, default=""),
    # Counts of the query peer by image series as JSON {series uid: instances} (S13).
    Column("archive_counts", JSON),
    Column("archive_counted_at", Float),
    # How often in a row the archive's counts were the same and equal to ours.
    Column("archive_equal_since", Float),
    Index("ix_study_state_last", "state", "last_received_at"),
)

series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("modality", String(16), nullable=False, default=""),
    UniqueConstraint("study_id", "series_instance_uid"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("pixel_sha256", String(64), nullable=False, default=""),
    Column("state", String(16), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("received_at", Float, nullable=False),
    Column("calling_ae", String(16), nullable=False, default=""),
    Column("called_ae", String(16), nullable=False, default=""),
    UniqueConstraint("sop_instance_uid", "content_sha256"),  # E3
    Index("ix_instance_study_state", "study_id", "state"),
    Index("ix_instance_series", "series_id"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("received_at", Float, nullable=False),
    Column("code", String(40), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sop_instance_uid", String(64), nullable=False, default=""),
    Column("sop_class_uid", String(64), nullable=False, default=""),
    Column("study_instance_uid", String(64), nullable=False, default=""),
    Column("calling_ae", String(16), nullable=False, default=""),
    Column("called_ae", String(16), nullable=False, default=""),
)

# Open associations of a peer: completion by equal counts waits for none (S13), and the
# limit per peer holds across receiver processes (E5).
association = Table(
    "association",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("peer", String(64), nullable=False, default=""),
    Column("calling_ae", String(16), nullable=False),
    Column("receiver", String(80), nullable=False),
    Column("opened_at", Float, nullable=False),
)

decision = Table(
    "decision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("study_revision", Integer, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("plugin", String(80), nullable=False),
    Column("at", Float, nullable=False),
    # `not matched`, `refused`, `scheduled`, `same work`, `held`, …
    Column("outcome", String(24), nullable=False),
    Column("code", String(40), nullable=False, default=""),
    Column("sentence", Text, nullable=False, default=""),
    # Predicates with values, candidates with scores, limits that were looked at.
    Column("document", JSON, nullable=False),
    Column("job_id", String(32)),
    Index("ix_decision_study", "study_id", "study_revision"),
)

job = Table(
    "job",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("study_revision", Integer, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("plugin", String(64), nullable=False),
    Column("plugin_version", String(32), nullable=False),
    Column("plugin_digest", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason_code", String(40), nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    Column("fingerprint", String(64), nullable=False),
    Column("run_number", Integer, nullable=False, default=1),
    Column("inputs", JSON, nullable=False),
    Column("destinations", JSON, nullable=False),
    Column("shadow", Boolean, nullable=False, default=False),
    Column("attempt", Integer, nullable=False, default=0),
    Column("owner", String(80), nullable=False, default=""),
    Column("lease_until", Float),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    # What the worker measured: seconds per stage, peak memory (E7), the picture's path.
    Column("report", JSON),
    UniqueConstraint("fingerprint", "run_number"),
    Index("ix_job_state_created", "state", "created_at"),
    Index("ix_job_study", "study_id"),
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("owner", String(80), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    # `completed`, `refused`, `failed`, `lease lost`, `drained`
    Column("outcome", String(16), nullable=False, default=""),
    Column("code", String(40), nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    UniqueConstraint("job_id", "attempt"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("role", String(24), nullable=False),
    # What beside the job decided its bytes: one set of objects for each (S1).
    Column("encoding", Text, nullable=False, default=""),
    Column("study_instance_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False, unique=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("position", Integer, nullable=False),
    Column("checks", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("job_id", "encoding", "role"),
)

# SOP UIDs that we made: what makes an instance ours (S17). Survives `reindex`.
own_uid = Table(
    "own_uid",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("at", Float, nullable=False),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("evidence_id", ForeignKey("evidence.id"), nullable=False),
    Column("destination", String(64), nullable=False),
    # Name of the destination's viewer profile when the job closed.
    Column("profile", String(64), nullable=False, default=""),
    Column("state", String(16), nullable=False),
    Column("position", Integer, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_at", Float, nullable=False),
    Column("sent_at", Float),
    Column("committed_at", Float),
    Column("proven_at", Float),
    Column("status", String(16), nullable=False, default=""),
    Column("reason", Text, nullable=False, default=""),
    # Who sends it now; a sender that died gives it back by time (E1).
    Column("owner", String(80), nullable=False, default=""),
    Column("lease_until", Float),
    UniqueConstraint("evidence_id", "destination"),
    Index("ix_delivery_state_next", "state", "next_attempt_at"),
    Index("ix_delivery_job", "job_id"),
    Index("ix_delivery_proven", "proven_at"),
)

# What is taken back from where, one row a delivery (S8).
withdrawal = Table(
    "withdrawal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("delivery_id", ForeignKey("delivery.id"), nullable=False, unique=True),
    Column("requested_at", Float, nullable=False),
    Column("reason", Text, nullable=False),
    # What to look at instead: "the newer result in series 9034", or "".
    Column("see", Text, nullable=False, default=""),
    Column("state", String(16), nullable=False),
    # `note` (rejection or report), `mark` or `delete`; "" before it is prepared.
    Column("means", String(16), nullable=False, default=""),
    Column("note_id", ForeignKey("evidence.id")),
    Column("next_look_at", Float, nullable=False),
    Column("looked_at", Float),
    Column("sentence", Text, nullable=False, default=""),
    # When a person said that what was left to do is done.
    Column("done_at", Float),
    Index("ix_withdrawal_state", "state", "next_look_at"),
)

# What may be a prior of a later study of the patient (S10), one row a completed job: names over
# time, places and numbers of its findings. Whether it still stands, the other rows say.
prior = Table(
    "prior",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    Column("patient_id", Text, nullable=False),
    Column("issuer_of_patient_id", Text, nullable=False),
    # As the header says them.
    Column("study_date", String(16), nullable=False),
    Column("study_time", String(24), nullable=False),
    Column("series_description", Text, nullable=False),
    Column("findings", JSON, nullable=False),
    Index("ix_prior_patient", "patient_id", "issuer_of_patient_id"),
)

# What became of telling that a job did not run (S7), one row an attempt.
refusal_note = Table(
    "refusal_note",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    # `waits`, `made` or `left out`
    Column("state", String(16), nullable=False),
    Column("code", String(40), nullable=False, default=""),
    Column("sentence", Text, nullable=False, default=""),
    Column("at", Float, nullable=False),
    Column("next_look_at", Float, nullable=False),
    UniqueConstraint("job_id", "attempt"),
)

# One engine sweeps (E1).
leader = Table(
    "leader",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("owner", String(80), nullable=False),
    Column("lease_until", Float, nullable=False),
)

# What persons said of a study's patient; the last entry of a name holds. Nothing is changed.
clinical_value = Table(
    "clinical_value",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("name", String(64), nullable=False),
    # As it was given; NULL takes the entry back.
    Column("value", JSON(none_as_null=True)),
    # UCUM, as it was given; "" = none.
    Column("unit", String(16), nullable=False, default=""),
    Column("entered_by", String(64), nullable=False),
    # `command` or `http`
    Column("way", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_clinical_value_study", "study_id", "name"),
)

# What a job knows of the clinical values of its plugin, with their sources; no row: nothing.
job_clinical = Table(
    "job_clinical",
    metadata,
    Column("job_id", ForeignKey("job.id"), primary_key=True),
    # `node.clinical_values.ClinicalValue`, one entry a name.
    Column("document", JSON, nullable=False),
)

# Plugins that an administrator switched off (S22).
plugin_switch = Table(
    "plugin_switch",
    metadata,
    Column("plugin", String(64), primary_key=True),
    Column("off", Boolean, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("at", Float, nullable=False),
)
