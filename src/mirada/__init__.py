"""Mirada: from a pile of photographs to a classifier that can be trusted, served and kept honest."""

from __future__ import annotations

__version__ = "0.1.0"
