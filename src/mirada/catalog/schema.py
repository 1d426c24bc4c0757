"""The tables of the catalogue. Portable SQL: SQLite by default, PostgreSQL by URL.

`migrations/` builds them; a test holds the two equal. Times are UTC ISO 8601 text, JSON is text, and keys are
text or growing integers, so that every list can be paged by key.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _row_key(name: str) -> Column[int]:
    # SQLite grows keys by itself for the type INTEGER alone.
    return Column(name, BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True)


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text, nullable=nullable)


# `writer` is the row that writers lock where the database has no single write lock of its own.
meta = Table("meta", metadata, Column("key", Text, primary_key=True), _text("value"))

sources = Table(
    "sources",
    metadata,
    Column("source", Text, primary_key=True),
    _text("signature"),
    _text("completed_at"),
)

# given_*: what the source says. label, label_source, status, split, n_decisions: what holds now, kept in step
# with every decision, so that a page is one walk along an index.
samples = Table(
    "samples",
    metadata,
    Column("sample_id", Text, primary_key=True),
    _text("content_sha256"),
    _text("uri"),
    _text("source"),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    _text("mode"),
    _text("format"),
    Column("n_bytes", BigInteger, nullable=False),
    _text("label", nullable=True),
    _text("label_source", nullable=True),
    _text("group_id", nullable=True),
    _text("split", nullable=True),
    Column("phash", BigInteger),
    Column("mtime_ns", BigInteger),
    _text("added_at"),
    _text("status"),
    Column("n_decisions", Integer, nullable=False),
    _text("given_label", nullable=True),
    _text("given_label_source", nullable=True),
    _text("given_split", nullable=True),
    UniqueConstraint("uri", "source"),
)
# `source` stands after sample_id to be filtered on without reading the row: sources are few.
Index("ix_samples_status", samples.c.status, samples.c.sample_id, samples.c.source)
Index("ix_samples_label", samples.c.status, samples.c.label, samples.c.sample_id)
Index("ix_samples_split", samples.c.status, samples.c.split, samples.c.sample_id)
Index("ix_samples_label_split", samples.c.status, samples.c.label, samples.c.split, samples.c.sample_id)
Index("ix_samples_content", samples.c.content_sha256, samples.c.status, samples.c.sample_id)
_grouped = text("group_id IS NOT NULL")
Index("ix_samples_group", samples.c.group_id, samples.c.sample_id, sqlite_where=_grouped, postgresql_where=_grouped)

# `sample_id`: the id it has as a sample once it can be read; issues and decisions name it by that.
rejected = Table(
    "rejected",
    metadata,
    _row_key("rejected_id"),
    _text("sample_id"),
    _text("uri"),
    _text("source"),
    _text("reason"),
    _text("detail"),
    Column("n_bytes", BigInteger),
    Column("mtime_ns", BigInteger),
    _text("rejected_at"),
    UniqueConstraint("uri", "source"),
    Index("ix_rejected_sample", "sample_id"),
)

# Append-only, held by triggers. An undo is a row of its own that names the row it undoes.
# No foreign key to samples: a sample that becomes unreadable leaves its table, what was decided on it stays.
# `check`: what it was decided for; without one it is about the photograph as a whole.
decisions = Table(
    "decisions",
    metadata,
    _row_key("decision_id"),
    _text("sample_id"),
    _text("action"),
    _text("old_label", nullable=True),
    _text("new_label", nullable=True),
    _text("old_status"),
    _text("new_status"),
    _text("decided_by"),
    _text("reason"),
    _text("decided_at"),
    Column("undoes", BigInteger, ForeignKey("decisions.decision_id"), unique=True),
    _text("check", nullable=True),
    Index("ix_decisions_sample", "sample_id", "decision_id"),
)

# No foreign key to samples: what cannot be read is an issue too, by the id it would have as a sample.
# `made_after`: the last decision there was when the check first found it; only later ones close it.
# `is_open`: flagged, and neither a decision nor the state of its sample has settled it; kept in step with both.
issues = Table(
    "issues",
    metadata,
    _row_key("issue_id"),
    _text("sample_id"),
    _text("check"),
    Column("score", Float, nullable=False),
    Column("is_issue", Boolean, nullable=False),
    Column("threshold", Float, nullable=False),
    _text("evidence"),
    Column("made_after", BigInteger, nullable=False, server_default=text("0")),
    Column("is_open", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("sample_id", "check"),
)
# A check scores every sample; only what it flags is ever listed, so only that is indexed.
Index(
    "ix_issues_flagged",
    issues.c.check,
    issues.c.sample_id,
    sqlite_where=text("is_issue = 1"),
    postgresql_where=text("is_issue"),
)
Index(
    "ix_issues_queue",
    issues.c.check,
    issues.c.score,
    issues.c.issue_id,
    sqlite_where=text("is_issue = 1"),
    postgresql_where=text("is_issue"),
)
Index(
    "ix_issues_open",
    issues.c.check,
    issues.c.score,
    issues.c.issue_id,
    sqlite_where=text("is_open = 1"),
    postgresql_where=text("is_open"),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    _row_key("version_id"),
    Column("dataset_id", Text, nullable=False, unique=True),
    _text("parent_id", nullable=True),
    _text("class_names"),
    Column("n_samples", BigInteger, nullable=False),
    _text("counts"),
    Column("last_decision_id", BigInteger),
    _text("frozen_at"),
)

splits = Table(
    "splits",
    metadata,
    _row_key("row_id"),
    Column("split_id", Text, nullable=False, unique=True),
    _text("dataset_id"),
    _text("strategy"),
    Column("seed", BigInteger, nullable=False),
    _text("made_at"),
)

split_members = Table(
    "split_members",
    metadata,
    Column("split_row_id", BigInteger, ForeignKey("splits.row_id"), primary_key=True),
    Column("subset", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    _text("sample_id"),
)

# A subset is a recipe and the ids it came to; no photograph is copied.
subsets = Table(
    "subsets",
    metadata,
    Column("name", Text, primary_key=True),
    _text("recipe"),
    _text("ids_hash"),
    _text("dataset_id"),
    Column("n_samples", BigInteger, nullable=False),
    _text("made_at"),
)

subset_members = Table(
    "subset_members",
    metadata,
    Column("name", Text, ForeignKey("subsets.name"), primary_key=True),
    Column("position", Integer, primary_key=True),
    _text("sample_id"),
)

runs = Table(
    "runs",
    metadata,
    _row_key("row_id"),
    Column("run_id", Text, nullable=False, unique=True),
    _text("status"),
    _text("stop_reason"),
    _text("dataset_id"),
    _text("split_id"),
    _text("config"),
    _text("git_sha"),
    _text("environment"),
    _text("seconds"),
    _text("process"),
    _text("started_at"),
    _text("updated_at"),
    Index("ix_runs_status", "status"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    _text("path"),
    _text("run_id"),
    _text("metrics"),
    _text("made_at"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["model_versions.name", "model_versions.version"]),
)

# Append-only like decisions.
alias_history = Table(
    "alias_history",
    metadata,
    _row_key("change_id"),
    _text("name"),
    _text("alias"),
    Column("version", Integer, nullable=False),
    Column("is_rollback", Boolean, nullable=False),
    _text("changed_by"),
    _text("reason"),
    _text("changed_at"),
    Index("ix_alias_history_alias", "name", "alias", "change_id"),
)

predictions = Table(
    "predictions",
    metadata,
    _row_key("row_id"),
    Column("prediction_id", Text, nullable=False, unique=True),
    _text("model"),
    Column("version", Integer, nullable=False),
    _text("label", nullable=True),
    Column("score", Float, nullable=False),
    _text("top_k"),
    Column("is_rejected", Boolean, nullable=False),
    _text("sample_sha256"),
    Column("milliseconds", Float, nullable=False),
    _text("uri"),
    _text("error", nullable=True),
    _text("predicted_at"),
)

feedback = Table(
    "feedback",
    metadata,
    _row_key("feedback_id"),
    Column("prediction_id", Text, ForeignKey("predictions.prediction_id"), nullable=False, index=True),
    _text("true_label"),
    _text("given_by"),
    _text("given_at"),
)

jobs = Table(
    "jobs",
    metadata,
    _row_key("job_id"),
    _text("kind"),
    _text("payload"),
    _text("status"),
    Column("n_attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    _text("error", nullable=True),
    _text("process"),
    _text("queued_at"),
    _text("claimed_at", nullable=True),
    _text("seen_at", nullable=True),
    _text("ended_at", nullable=True),
    Index("ix_jobs_queue", "kind", "status", "job_id"),
    Index("ix_jobs_status", "status", "job_id"),
)

# How many rows there are of each kind; a, b and c are the kind's keys, "" where it has fewer or none.
counters = Table(
    "counters",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("a", Text, primary_key=True),
    Column("b", Text, primary_key=True),
    Column("c", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)
