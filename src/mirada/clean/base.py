"""What a check is, what it is given, what it returns, and the register of checks.

A check scores every sample from 0 (worst) to 1; a threshold, kept apart, says which scores are issues. It names
what it needs, and the workflow supplies that once for all checks:

    stats        photographic statistics of each sample (`imaging.statistics`)
    lookalike    the cheap description of what a photograph looks like (`imaging.lookalike`)
    embeddings   a backbone's vectors
    neighbours   the nearest samples by embedding
    groups       duplicate groups, exact and near (found by the `near_duplicate` check, or kept in the catalogue)
    pred_probs   probabilities from heads that saw neither the sample nor its group
    rejected     what cannot be read
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from mirada.errors import UsageError
from mirada.messages import Message, msg
from mirada.types import Rejected, Sample

Need = Literal["stats", "lookalike", "embeddings", "neighbours", "groups", "pred_probs", "rejected"]
NEEDS: tuple[Need, ...] = get_args(Need)
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Evidence = Mapping[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The k nearest other samples of each: rows (n, k) int64, -1 where there are fewer; cosine (n, k), best first."""

    rows: Ints
    similarity: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What checks look at: n samples and, aligned with them, what the checks asked for (else None).

    y: class index (n,) into `class_names`, -1 without a label. stats: (n, number of `STATISTICS`), NaN where the
    photograph could not be read. lookalike: (n, D). embeddings: (n, d), NaN rows where there is none. groups:
    group number (n,), the same for copies of one photograph. pred_probs: (n, number of classes), NaN rows for
    samples that have none (no label, no embedding, a class too small for folds). read: the bytes of a sample.
    """

    samples: Sequence[Sample]
    class_names: tuple[str, ...]
    y: Ints
    stats: Floats | None = None
    lookalike: Floats | None = None
    embeddings: Floats | None = None
    neighbours: Neighbours | None = None
    groups: Ints | None = None
    pred_probs: Floats | None = None
    rejected: Sequence[Rejected] = ()
    read: Callable[[Sample], bytes] | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """An unreadable photograph that a check makes an issue of: `sample_id` as it would have been."""

    sample_id: str
    score: float
    evidence: Evidence


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a check found. values: float32 (n,), 0 worst to 1; NaN: this sample cannot be scored.

    evidence: called with a row for each sample that is listed; plain JSON values, other samples by their id.
    refused: issues of photographs that are in no row. notes: what has to be told besides.
    """

    values: Floats
    evidence: Callable[[int], Evidence]
    refused: tuple[Refused, ...] = ()
    notes: tuple[Message, ...] = field(default=())


class Check(Protocol):
    """Something that may be wrong with a photograph or its label."""

    @property
    def name(self) -> str:
        """Its name in commands and tables, such as near_duplicate."""
        ...

    @property
    def title(self) -> Message:
        """What it finds, in a few words a person reads."""
        ...

    @property
    def needs(self) -> frozenset[Need]:
        """What of `Material` must be there."""
        ...

    @property
    def threshold(self) -> float:
        """A score below this is an issue, unless the person moved it."""
        ...

    def run(self, material: Material) -> Scores:
        """Score every sample. The same material gives the same scores."""
        ...


_CHECKS: dict[str, Check] = {}


def register(check: Check) -> None:
    """Make a check known. Raises ValueError on a second of a name, or one that needs what nobody supplies."""
    if check.name in _CHECKS:
        raise ValueError(f"a check named {check.name!r} is registered already")
    unknown = check.needs - set(NEEDS)
    if unknown:
        raise ValueError(f"check {check.name!r} needs {sorted(unknown)}, which nobody supplies; there are {NEEDS}")
    _CHECKS[check.name] = check


def unregister(name: str) -> None:
    """Forget a check; for tests and notebooks."""
    del _CHECKS[name]


def checks(names: Sequence[str] = ()) -> tuple[Check, ...]:
    """The checks of these names, or all, in the order of registration. Raises UsageError for an unknown name."""
    for name in names:
        if name not in _CHECKS:
            near = difflib.get_close_matches(name, _CHECKS, n=1)
            allowed = ", ".join(_CHECKS)
            raise UsageError(
                msg("There is no check {name!r}; there are: {allowed}.", name=name, allowed=allowed),
                msg("Did you mean {name}?", name=near[0]) if near else None,
            )
    return tuple(check for name, check in _CHECKS.items() if not names or name in names)
