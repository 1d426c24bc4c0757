"""For tests, demonstrations, and people who add a source or an engine: synthetic photographs and contract checks.

Everything here is drawn by code from a seed; nothing was taken by a camera.
"""

from __future__ import annotations

from mirada.testing.check_contract import check_check
from mirada.testing.contracts import ContractError, check_engine, check_source
from mirada.testing.quick import KINDS, class_folders, photo, pixels
from mirada.testing.sample_set import SHARES, SampleTruth, render_sample_set

__all__ = [
    "KINDS",
    "SHARES",
    "ContractError",
    "SampleTruth",
    "check_check",
    "check_engine",
    "check_source",
    "class_folders",
    "photo",
    "pixels",
    "render_sample_set",
]
