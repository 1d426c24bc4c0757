"""Checks: photographs that are in the data twice, as the same bytes, the same pixels, or a changed copy.

`near_duplicate` needs the small pictures alone. A backbone's embeddings say that two photographs show the same
things; whether one was made from the other is told by laying the photographs themselves over each other, which is
done for every pair that is shown. So what is found does not depend on a backbone, nor on which other checks run.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mirada.clean.base import Evidence, Floats, Ints, Material, Need, Scores, register
from mirada.clean.candidates import FLAT, find_candidates
from mirada.clean.grouping import LINE, Copy, make_groups, preference, reason
from mirada.clean.neighbours import in_threads, near_pairs
from mirada.clean.verify import Matches, Read, judge, verify
from mirada.errors import MiradaError
from mirada.imaging.decode import decode
from mirada.imaging.lookalike import LOOKALIKE_SIDE
from mirada.messages import Message, msg
from mirada.types import Sample

_ALMOST_EQUAL = 0.998
_SHOWN = 20
_MERGES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """Groups of copies. copies: for each row that is a copy, of what and how. groups: (n,) a number for each row,
    the row that is kept, so that copies share it and a photograph without copies has its own.
    """

    samples: Sequence[Sample]
    groups: Ints
    copies: dict[int, Copy]

    def pairs(self) -> list[tuple[str, str]]:
        """(kept, copy) sample ids, in the order of the rows."""
        return [
            (self.samples[copy.of].sample_id, self.samples[row].sample_id) for row, copy in sorted(self.copies.items())
        ]

    def group_ids(self) -> dict[str, str]:
        """sample_id → group id (the kept sample's id), for `catalog.set_groups`; photographs without copies apart."""
        size = np.bincount(self.groups, minlength=len(self.groups))
        return {
            sample.sample_id: self.samples[group].sample_id
            for sample, group in zip(self.samples, self.groups.tolist(), strict=True)
            if size[group] > 1
        }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DuplicateScores(Scores):
    """`Scores` with what they come from."""

    found: Duplicates


@dataclass(frozen=True, slots=True)
class ExactDuplicate:
    """The same bytes; or the same pixels in another file (told as kind "pixels")."""

    name: str = "exact_duplicate"
    needs: frozenset[Need] = frozenset({"lookalike"})
    threshold: float = 0.5

    @property
    def title(self) -> Message:
        """What it finds."""
        return msg("The same photograph twice, byte for byte or pixel for pixel")

    def run(self, material: Material) -> DuplicateScores:
        """0 for a copy, 1 for all others. Small pictures that are equal to the eye have their pixels compared."""
        copies = _byte_copies(material.samples)
        copies |= _pixel_copies(material, [row for row in range(len(material.samples)) if row not in copies])
        return _scores(_duplicates(material.samples, _to_the_kept(copies)))


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Resized, re-encoded, cropped, brightened, mirrored, rotated or greyed copies.

    Copies of the same bytes are the exact check's to tell; they are in the groups and have a score of 1 here.
    """

    name: str = "near_duplicate"
    needs: frozenset[Need] = frozenset({"lookalike"})
    threshold: float = 0.5

    @property
    def title(self) -> Message:
        """What it finds."""
        return msg("A changed copy of another photograph")

    def run(self, material: Material) -> DuplicateScores:
        """1 for a photograph without copies and for the one to keep; 1 − confidence for its copies, below 0.5."""
        exact = _byte_copies(material.samples)
        rows = np.array([row for row in range(len(material.samples)) if row not in exact], np.int64)
        copies = {copy.row: copy for group in _near_groups(material, rows) for copy in group}
        found = _duplicates(material.samples, _to_the_kept(copies | exact))
        scores = _scores(found)
        scores.values[list(exact)] = 1
        return scores


def register_duplicates() -> None:
    """Make both checks known."""
    register(ExactDuplicate())
    register(NearDuplicate())


def _byte_copies(samples: Sequence[Sample]) -> dict[int, Copy]:
    by_content: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        by_content[sample.content_sha256].append(row)
    return _equal(samples, by_content.values(), "bytes")


def _equal(samples: Sequence[Sample], classes: Iterable[list[int]], kind: str) -> dict[int, Copy]:
    copies: dict[int, Copy] = {}
    for rows in classes:
        kept = min(rows, key=lambda row: preference(samples[row]))
        copies |= {row: Copy(row, kept, 1.0, 1.0, (kind,)) for row in rows if row != kept}
    return copies


def _pixel_copies(material: Material, rows: list[int]) -> dict[int, Copy]:
    """Copies whose decoded pixels are equal, among rows of different bytes."""
    if material.read is None:
        return {}
    read, samples = material.read, material.samples
    suspects = _suspects(material, np.array(rows, np.int64))

    def pixels_of(row: int) -> str:
        try:
            pixels = decode(read(samples[row])).pixels
        except (MiradaError, OSError):
            return f"unreadable {row}"  # told by the stage that reads everything
        return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()

    same: dict[str, list[int]] = defaultdict(list)
    for row, digest in zip(suspects, in_threads(pixels_of, suspects), strict=True):
        same[digest].append(row)
    return _equal(samples, same.values(), "pixels")


def _suspects(material: Material, rows: Ints) -> list[int]:
    """Rows with another of the same size that looks the same: what is worth decoding in full."""
    looks = _looks(material)[rows]
    flat = looks.std(axis=1) < FLAT
    found: set[int] = set()
    by_size: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for at in np.flatnonzero(flat & np.isfinite(looks).all(axis=1)).tolist():
        sample = material.samples[rows[at]]
        by_size[sample.width, sample.height, round(float(looks[at].mean()) / 8)].append(int(rows[at]))
    for alike in by_size.values():
        found.update(alike if len(alike) > 1 else ())
    half = LOOKALIKE_SIDE // 2
    quarter = looks.reshape(len(looks), half, 2, half, 2).mean((2, 4)).reshape(len(looks), half * half)
    centred = quarter - quarter.mean(axis=1, keepdims=True)
    centred[flat] = 0
    for a, b, _ in zip(*near_pairs(centred, min_similarity=_ALMOST_EQUAL, seed=material.seed), strict=True):
        one, other = material.samples[rows[a]], material.samples[rows[b]]
        if (one.width, one.height) == (other.width, other.height):
            found.update((int(rows[a]), int(rows[b])))
    return sorted(found)


def _near_groups(material: Material, rows: Ints) -> list[list[Copy]]:
    """Groups among `rows`; flat pictures and those without a description are in none."""
    looks = _looks(material)
    rows = rows[looks[rows].std(axis=1) >= FLAT]  # also False for NaN
    pictures = looks[rows]
    samples = [material.samples[row] for row in rows.tolist()]
    read = material.read

    def read_row(row: int) -> bytes:
        if read is None:
            raise FileNotFoundError
        return read(samples[row])

    source = read_row if read is not None else None

    def judge_more(template: Ints, moving: Ints, affine: Floats) -> Matches:
        return judge(pictures, template, moving, affine, read=source)

    found = verify(pictures, find_candidates(pictures, seed=material.seed), source)
    groups = make_groups(samples, found, judge_more)
    for _ in range(_MERGES):
        more = _among_the_kept(pictures, groups, found, seed=material.seed, source=source)
        if not len(more):
            break
        found = found.and_also(more, np.arange(len(pictures)))
        groups = make_groups(samples, found, judge_more)
    return [
        [Copy(int(rows[c.row]), int(rows[c.of]), c.confidence, c.similarity, c.kinds) for c in group]
        for group in groups
    ]


def _among_the_kept(
    pictures: Floats, groups: list[list[Copy]], found: Matches, *, seed: int, source: Read | None
) -> Matches:
    """Sure pairs, not found before, among the photographs that groups keep.

    A photograph names a few partners: where it has dozens of copies, these fall into several groups at first.
    """
    kept = np.array(sorted(group[0].of for group in groups), np.int64)
    of_kept = pictures[kept]
    more = verify(of_kept, find_candidates(of_kept, seed=seed), source)
    known = set(zip(found.template.tolist(), found.moving.tolist(), strict=True))
    pairs = list(zip(kept[more.template].tolist(), kept[more.moving].tolist(), strict=True))
    new = [
        at for at, (a, b) in enumerate(pairs)
        if more.confidence[at] >= LINE and (a, b) not in known and (b, a) not in known
    ]  # fmt: skip
    none = found.take(np.zeros(0, np.int64))
    return none.and_also(more.take(np.array(new, np.int64)), kept)


def _looks(material: Material) -> Floats:
    if material.lookalike is None:
        raise ValueError("the duplicate checks need material.lookalike")
    return material.lookalike


def _to_the_kept(copies: dict[int, Copy]) -> dict[int, Copy]:
    """A copy of a copy becomes a copy of what is kept."""
    final = {}
    for row, copy in copies.items():
        above = copies.get(copy.of)
        if above is not None:
            kinds = copy.kinds if copy.kinds != ("bytes",) else above.kinds
            copy = Copy(row, above.of, min(copy.confidence, above.confidence), above.similarity, kinds)
        final[row] = copy
    return final


def _duplicates(samples: Sequence[Sample], copies: dict[int, Copy]) -> Duplicates:
    groups = np.arange(len(samples), dtype=np.int64)
    for row, copy in copies.items():
        groups[row] = copy.of
    return Duplicates(samples, groups, copies)


def _scores(found: Duplicates) -> DuplicateScores:
    values = np.ones(len(found.samples), np.float32)
    for row, copy in found.copies.items():
        # At the line itself a copy is one: just below 0.5.
        values[row] = min(1 - copy.confidence, np.nextafter(np.float32(1 - LINE), np.float32(0)))
    members: dict[int, list[int]] = defaultdict(list)
    for row, copy in sorted(found.copies.items()):
        members[copy.of].append(row)

    def evidence(row: int) -> Evidence:
        copy = found.copies.get(row)
        if copy is None:
            return {}
        kept, group = found.samples[copy.of], members[copy.of]
        return {
            "group": kept.sample_id,
            "copy_of": kept.sample_id,
            "uri": kept.uri,
            "kinds": list(copy.kinds),
            "similarity": round(copy.similarity, 4),
            "confidence": round(copy.confidence, 4),
            "keep": kept.sample_id,
            "why": reason(kept, found.samples[row]),
            "members": [kept.sample_id, *(found.samples[other].sample_id for other in group[:_SHOWN])],
            "member_uris": [kept.uri, *(found.samples[other].uri for other in group[:_SHOWN])],
            "n_members": 1 + len(group),
        }

    return DuplicateScores(values=values, evidence=evidence, found=found)
