"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

LONG = os.environ.get("MIRADA_LONG") == "1"


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """``shared("data/sports15")``: a path among the development photographs and weights, or a skip that says why."""
    root = Path(os.environ.get("MIRADA_SHARED") or Path(__file__).parents[2] / "shared")

    def find(name: str) -> Path:
        path = root / name
        if not path.exists():
            pytest.skip(f"{path} is not here (set MIRADA_SHARED to the folder of development data)")
        return path

    return find


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests read English sentences unless they ask for another language."""
    monkeypatch.setenv("MIRADA_LANG", "en")


@pytest.fixture(scope="session")
def long_run() -> bool:
    """True under `make test-long`: full counts instead of the quick ones."""
    return LONG
