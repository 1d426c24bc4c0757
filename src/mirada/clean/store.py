"""Scores of every sample on disk: one file a check, so that a threshold can move without computing again.

Beside the catalogue's rows, which hold only what is flagged: 14 checks of 200,000 photographs are 11 MB here.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.workspace import storage_errors, write_atomic


@dataclass(frozen=True, slots=True, eq=False)
class StoredScores:
    """values float32 (n,) of the samples `ids` (n,) as text; `state` says what they were computed from."""

    ids: NDArray[np.str_]
    values: NDArray[np.float32]
    state: str


def state_of(parts: Iterable[str]) -> str:
    """A short name of what scores were computed from: other photographs, labels or settings give another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:24]


def save_scores(folder: Path, check: str, scores: StoredScores) -> None:
    """Write the scores of `check`, replacing earlier ones. Raises StorageError."""
    buffer = io.BytesIO()
    np.savez(buffer, ids=scores.ids, values=scores.values, state=np.array(scores.state))
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{check}.npz", buffer.getvalue())


def load_scores(folder: Path, check: str) -> StoredScores | None:
    """The scores of `check`; None where it has not run, or its file is damaged (it is computed again then)."""
    try:
        with np.load(folder / f"{check}.npz", allow_pickle=False) as stored:
            return StoredScores(stored["ids"], stored["values"], str(stored["state"]))
    except (OSError, ValueError, KeyError):
        return None
