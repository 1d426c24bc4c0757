"""Subsets: named recipes, and the ids they came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from mirada.catalog.database import Database, chunked, now
from mirada.catalog.schema import subset_members as members
from mirada.catalog.schema import subsets as table
from mirada.errors import Conflict, NotFound
from mirada.messages import msg


@dataclass(frozen=True, slots=True)
class SubsetRow:
    """A subset as it is kept. `recipe` is JSON that `subsets.recipe` reads; `dataset_id`: what it was drawn from."""

    name: str
    recipe: str
    ids_hash: str
    dataset_id: str
    n_samples: int
    made_at: str = ""


class SubsetStore:
    """The part of `Catalog` that keeps subsets."""

    _db: Database

    def save_subset(self, row: SubsetRow, ids: Sequence[str], *, replace: bool = False) -> None:
        """Store a subset with its members, in their order. Raises Conflict where the name is taken."""
        with self._db.write() as connection:
            by_name = table.c.name == row.name
            if connection.execute(sa.select(table.c.name).where(by_name)).scalar() is not None:
                if not replace:
                    raise Conflict(
                        msg("There is a subset {name} already.", name=row.name),
                        msg("Choose another name, or draw it anew with --replace."),
                    )
                connection.execute(sa.delete(members).where(members.c.name == row.name))
                connection.execute(sa.delete(table).where(by_name))
            values = {name: getattr(row, name) for name in ("name", "recipe", "ids_hash", "dataset_id", "n_samples")}
            connection.execute(sa.insert(table).values(made_at=now(), **values))
            for batch in chunked(enumerate(ids), 10_000):
                rows = [{"name": row.name, "position": position, "sample_id": i} for position, i in batch]
                connection.execute(sa.insert(members), rows)

    def subset(self, name: str) -> SubsetRow | None:
        """The subset of this name; None where there is none."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.name == name)).one_or_none()
        return None if row is None else SubsetRow(**row._mapping)

    def subsets(self) -> list[SubsetRow]:
        """Every subset, by name."""
        with self._db.read() as connection:
            return [SubsetRow(**row._mapping) for row in connection.execute(sa.select(table).order_by(table.c.name))]

    def subset_ids(self, name: str) -> list[str]:
        """The members of a subset, in the order in which they were drawn."""
        with self._db.read() as connection:
            query = sa.select(members.c.sample_id).where(members.c.name == name).order_by(members.c.position)
            return list(connection.execute(query).scalars())

    def delete_subset(self, name: str) -> None:
        """Forget a subset; its photographs are untouched. Raises NotFound."""
        with self._db.write() as connection:
            connection.execute(sa.delete(members).where(members.c.name == name))
            gone = connection.execute(sa.delete(table).where(table.c.name == name))
            if not gone.rowcount:
                raise NotFound(msg("There is no subset {name}.", name=name), msg("`mirada subset` lists them."))
