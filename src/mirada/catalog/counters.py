"""Counters kept in step with every write, so that no total ever counts rows.

A counter is (kind, a, b, c) → n. Each write collects what it changes in a `Tally` and applies it in its own
transaction. Kinds and their keys:

    samples    status, label, split      rejected   reason, source
    sources    source                    decided    status (samples with a decision in force)
    decisions  action (in force)         issues     check, status of the sample (flagged ones)
    open       check (issues to decide)
    scores     check (all scored)        feedback   model, version, "right" | "wrong"
    jobs       kind, status              predictions  model, version, "ok" | "rejected" | "error"
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from mirada.catalog.schema import counters

Key = tuple[str, str, str, str]


class Tally:
    """Changes to counters, collected during one write."""

    def __init__(self) -> None:
        self._changes: Counter[Key] = Counter()

    def add(self, n: int, kind: str, a: str | None = "", b: str | None = "", c: str | None = "") -> None:
        """Add `n` (may be negative) to a counter; None counts as "" (no label, no split)."""
        self._changes[(kind, a or "", b or "", c or "")] += n

    def apply(self, connection: Connection) -> None:
        """Write the changes and forget them."""
        rows = [{"kind": kind, "a": a, "b": b, "c": c, "n": n} for (kind, a, b, c), n in self._changes.items() if n]
        self._changes.clear()
        if rows:
            make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            statement = make(counters)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["kind", "a", "b", "c"], set_={"n": counters.c.n + statement.excluded.n}
                ),
                rows,
            )


def read(connection: Connection, kind: str, **keys: str) -> list[tuple[str, str, str, int]]:
    """(a, b, c, n) of the counters of `kind` above zero, narrowed by `keys` a, b or c."""
    where = [counters.c[name] == value for name, value in keys.items()]
    columns = (counters.c.a, counters.c.b, counters.c.c, counters.c.n)
    rows = connection.execute(select(*columns).where(counters.c.kind == kind, counters.c.n > 0, *where))
    return [(a, b, c, n) for a, b, c, n in rows]


def total(connection: Connection, kind: str, **keys: str) -> int:
    """The sum of the counters of `kind`, narrowed by `keys`."""
    return sum(row[3] for row in read(connection, kind, **keys))
