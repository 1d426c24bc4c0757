"""Cleaning: issues of what cannot be read, queues of what is open, what a decision was for, subsets."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BATCH = 1000


def upgrade() -> None:
    op.add_column("decisions", sa.Column("check", sa.Text(), nullable=True))
    _name_the_rejected()
    _free_the_issues()
    _close_what_is_decided()
    op.create_table(
        "subsets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("ids_hash", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("n_samples", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_subsets")),
    )
    op.create_table(
        "subset_members",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sample_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["name"], ["subsets.name"], name=op.f("fk_subset_members_name")),
        sa.PrimaryKeyConstraint("name", "position", name=op.f("pk_subset_members")),
    )


def _name_the_rejected() -> None:
    """Give each rejected photograph the id that it would have as a sample."""
    with op.batch_alter_table("rejected") as table:
        table.add_column(sa.Column("sample_id", sa.Text(), nullable=True))
    rejected = sa.table("rejected", sa.column("rejected_id"), *map(sa.column, ("sample_id", "uri", "source")))
    query = sa.select(rejected.c.rejected_id, rejected.c.uri, rejected.c.source).order_by(rejected.c.rejected_id)
    connection, last = op.get_bind(), 0
    update = sa.update(rejected).where(rejected.c.rejected_id == sa.bindparam("key"))
    while rows := connection.execute(query.where(rejected.c.rejected_id > last).limit(BATCH)).all():
        ids = [(key, hashlib.sha256(f"{source}\0{uri}".encode()).hexdigest()[:20]) for key, uri, source in rows]
        connection.execute(update, [{"key": key, "sample_id": sample_id} for key, sample_id in ids])
        last = rows[-1][0]
    with op.batch_alter_table("rejected") as table:
        table.alter_column("sample_id", existing_type=sa.Text(), nullable=False)
    op.create_index("ix_rejected_sample", "rejected", ["sample_id"], unique=False)


def _free_the_issues() -> None:
    """Take the foreign key from issues, and give them what the open queue needs."""
    for name in ("ix_issues_flagged", "ix_issues_queue"):
        op.drop_index(name, "issues")
    with op.batch_alter_table("issues") as table:
        table.drop_constraint("fk_issues_sample_id", type_="foreignkey")
        table.add_column(sa.Column("made_after", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
        table.add_column(sa.Column("is_open", sa.Boolean(), nullable=False, server_default=sa.false()))
    _index("ix_issues_flagged", ["check", "sample_id"], "is_issue")
    _index("ix_issues_queue", ["check", "score", "issue_id"], "is_issue")
    _index("ix_issues_open", ["check", "score", "issue_id"], "is_open")


def _index(name: str, columns: list[str], holds: str) -> None:
    sqlite, postgresql = sa.text(f"{holds} = 1"), sa.text(holds)
    op.create_index(name, "issues", columns, unique=False, sqlite_where=sqlite, postgresql_where=postgresql)


def _close_what_is_decided() -> None:
    """An issue found before is open unless its sample is out or has been looked at; the counters follow."""
    op.execute(
        "UPDATE issues SET is_open = is_issue WHERE sample_id IN (SELECT sample_id FROM samples "
        "WHERE status = 'live') AND sample_id NOT IN (SELECT sample_id FROM decisions AS d WHERE d.undoes IS NULL "
        "AND d.action <> 'restore' AND NOT EXISTS (SELECT 1 FROM decisions AS u WHERE u.undoes = d.decision_id))"
    )
    op.execute(
        "INSERT INTO counters (kind, a, b, c, n) "
        """SELECT 'open', "check", '', '', COUNT(*) FROM issues WHERE is_open GROUP BY "check" """
    )
