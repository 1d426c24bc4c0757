"""From pairs to groups of copies: which one to keep, why, and what each of the others is."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.clean.base import Floats, Ints
from mirada.clean.verify import Matches
from mirada.types import Sample

LINE = 0.5
_TURNED = 1.0  # degrees
_STRETCHED = 0.03
_CUT = 0.96  # share of the area: 2 % of each side
_SHIFTED = 6.0  # grey levels at mid-grey
_CONTRAST = 0.07

Judge = Callable[[Ints, Ints, Floats], Matches]


@dataclass(frozen=True, slots=True)
class Copy:
    """Row `row` is a copy of row `of`, the one to keep. kinds: what was done to it, as words."""

    row: int
    of: int
    confidence: float
    similarity: float
    kinds: tuple[str, ...]


def preference(sample: Sample) -> tuple[int, float, bool, str]:
    """Sorts the copy to keep first: more pixels, then less compressed, then labelled, then the smallest id."""
    pixels = sample.width * sample.height
    return -pixels, -sample.n_bytes / max(1, pixels), sample.label is None, sample.sample_id


def reason(kept: Sample, other: Sample) -> str:
    """Why `kept` rather than `other`: the first point of `preference` in which they differ."""
    a, b = preference(kept), preference(other)
    if a[0] != b[0]:
        return "largest"
    if a[1] != b[1]:
        return "least compressed"
    return "labelled" if a[2] != b[2] else "first"


def make_groups(samples: Sequence[Sample], found: Matches, judge: Judge) -> list[list[Copy]]:
    """Groups of copies, each of the same photograph: every one is laid over the one that is kept.

    Pairs chain: of three crops, the first may share nothing with the last. So the best photograph of a chain gathers
    those that are copies of it, measured directly (`judge(template, moving, affine)` lays further pairs over each
    other, starting from the maps along the chain), and what is left goes on among itself.
    """
    sure = np.flatnonzero(found.confidence >= LINE)
    edges: dict[int, dict[int, int]] = defaultdict(dict)
    for pair in sure.tolist():
        a, b = int(found.template[pair]), int(found.moving[pair])
        edges[a][b] = edges[b][a] = pair
    order = sorted(edges, key=lambda row: preference(samples[row]))
    free, groups = set(order), []
    for kept in order:
        if kept not in free:
            continue
        free.discard(kept)
        chain = _maps_along(kept, edges, found, free)
        members = _direct(samples, kept, edges[kept], found, free)
        far = sorted(set(chain) - {copy.row for copy in members})
        members += _judged(samples, kept, far, chain, judge)
        free -= {copy.row for copy in members}
        if members:
            groups.append(sorted(members, key=lambda copy: copy.row))
    return groups


def _maps_along(
    kept: int, edges: dict[int, dict[int, int]], found: Matches, free: set[int]
) -> dict[int, NDArray[np.float64]]:
    """For what hangs together with `kept`: the map from a point of `kept` to it, (3, 3), by the shortest chain."""
    maps = {kept: np.eye(3)}
    queue = deque([kept])
    while queue:
        row = queue.popleft()
        for other, pair in sorted(edges[row].items()):
            if other in free and other not in maps:
                step = np.vstack([found.affine[pair].astype(np.float64), [0, 0, 1]])
                maps[other] = (step if found.template[pair] == row else np.linalg.inv(step)) @ maps[row]
                queue.append(other)
    del maps[kept]
    return maps


def _direct(samples: Sequence[Sample], kept: int, near: dict[int, int], found: Matches, free: set[int]) -> list[Copy]:
    return [_copy(samples, kept, row, found, pair) for row, pair in sorted(near.items()) if row in free]


def _judged(
    samples: Sequence[Sample], kept: int, rows: list[int], maps: dict[int, NDArray[np.float64]], judge: Judge
) -> list[Copy]:
    if not rows:
        return []
    affine = np.stack([maps[row][:2] for row in rows]).astype(np.float32)
    found = judge(np.full(len(rows), kept), np.array(rows), affine)
    sure = np.flatnonzero(found.confidence >= LINE).tolist()
    return [_copy(samples, kept, rows[pair], found, pair) for pair in sure]


def _copy(samples: Sequence[Sample], kept: int, row: int, found: Matches, pair: int) -> Copy:
    forward = found.template[pair] == kept
    kinds = _kinds(samples[kept], samples[row], found, pair, forward=bool(forward))
    return Copy(row, kept, float(found.confidence[pair]), float(found.correlation[pair]), kinds)


def _kinds(kept: Sample, copy: Sample, found: Matches, pair: int, *, forward: bool) -> tuple[str, ...]:
    """What was done to the kept photograph to make the copy, read from how one lies over the other."""
    affine = np.vstack([found.affine[pair].astype(np.float64), [0, 0, 1]])
    linear = (affine if forward else np.linalg.inv(affine))[:2, :2]  # from a point of the kept one to the copy's
    pixels = np.diag([copy.width, copy.height]) @ linear @ np.diag([1 / kept.width, 1 / kept.height])
    mirrored = bool(np.linalg.det(pixels) < 0)
    upright = pixels @ np.diag([-1.0, 1.0]) if mirrored else pixels
    angle = np.degrees(np.arctan2(upright[1, 0] - upright[0, 1], upright[0, 0] + upright[1, 1]))
    scales = np.linalg.norm(pixels, axis=0)
    area = float(abs(np.linalg.det(linear)))
    gain, bias = float(found.gain[pair]), float(found.bias[pair])
    # A mirrored picture upside down is told as mirrored alone: it was flipped from top to bottom.
    flipped = mirrored and abs(abs(angle) - 180) <= _TURNED
    told = {
        "cropped": not _CUT <= area <= 1 / _CUT,
        "mirrored": mirrored,
        "rotated": abs(angle) > _TURNED and not flipped,
        "brightened": abs(gain * 128 + bias - 128) > _SHIFTED or abs(gain - 1) > _CONTRAST,
        "greyed": bool(found.greyed[pair]),
        "resized": bool((np.abs(scales - 1) > _STRETCHED).any()),
    }
    return tuple(kind for kind, true in told.items() if true) or ("re-encoded",)
