"""The checks that come with Mirada, and those that installed packages bring."""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

from mirada.clean.base import register
from mirada.clean.corrupt import register_corrupt
from mirada.clean.duplicates import register_duplicates
from mirada.clean.labels import register_labels
from mirada.clean.leakage import register_leakage
from mirada.clean.outliers import register_outliers
from mirada.clean.quality import register_quality

ENTRY_POINTS = "mirada.checks"
log = logging.getLogger("mirada.clean")


@cache
def register_builtin() -> None:
    """Register them, once: Mirada's own, then each entry point of the group "mirada.checks" (a `Check`)."""
    for own in (
        register_corrupt,
        register_duplicates,
        register_leakage,
        register_labels,
        register_outliers,
        register_quality,
    ):
        own()
    for entry in entry_points(group=ENTRY_POINTS):
        log.info("check %s from %s", entry.name, entry.value)
        register(entry.load())
