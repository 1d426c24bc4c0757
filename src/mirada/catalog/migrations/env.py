"""Alembic's entry: `mirada.catalog.migrate` hands over an open transaction."""

from __future__ import annotations

from alembic import context

from mirada.catalog.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
