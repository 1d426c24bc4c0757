from __future__ import annotations

import numpy as np

from mirada.clean.base import Material
from mirada.clean.leakage import Leakage
from mirada.types import Sample, SplitName


def material(rows: list[tuple[int, str, SplitName | None]]) -> Material:
    samples = [
        Sample(f"id{k}", sha, f"u{k}", "s", 8, 8, "RGB", "JPEG", 9, split=split)
        for k, (_, sha, split) in enumerate(rows)
    ]
    groups = np.array([row[0] for row in rows], np.int64)
    return Material(samples, (), np.full(len(samples), -1), groups=groups)


def test_groups_that_cross_parts_are_told() -> None:
    given = material([
        (0, "a", "train"), (0, "a", "test"), (0, "b", "val"),  # same bytes in train and test, a changed copy in val
        (3, "c", "train"), (3, "d", "train"),  # within one part
        (5, "e", "test"), (5, "f", None),  # the other is in no part
        (7, "g", "val"),
    ])  # fmt: skip
    scores = Leakage().run(given)
    np.testing.assert_allclose(scores.values, [0, 0, 0.2, 1, 1, 1, 1, 1])
    told = scores.evidence(1)
    assert told["copy_of"] == "id0"
    assert (told["part"], told["other_part"], told["kind"]) == ("test", "train", "bytes")
    assert told["parts"] == {"train": 1, "val": 1, "test": 1}
    assert scores.evidence(2)["kind"] == "near"
    assert scores.evidence(3) == {}
    assert str(scores.notes[0]) == "1 group of copies crosses the split."


def test_without_a_split_nothing_crosses() -> None:
    scores = Leakage().run(material([(0, "a", None), (0, "a", None)]))
    assert (scores.values == 1).all()
    assert scores.notes == ()


def test_no_samples() -> None:
    assert Leakage().run(material([])).values.shape == (0,)


def test_a_large_group_lists_some() -> None:
    given = material([(0, "a", "train" if k % 2 else "test") for k in range(3000)])
    scores = Leakage().run(given)
    assert (scores.values == 0).all()
    assert len(scores.evidence(0)["members"]) <= 20
    assert scores.evidence(0)["n_members"] == 3000
