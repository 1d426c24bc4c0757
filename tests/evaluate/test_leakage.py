from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mirada.evaluate.leakage import find_leakage, score_leakage
from mirada.split import given_split
from mirada.types import Sample, SplitName


def test_scores_with_and_without_the_affected() -> None:
    y = np.zeros(10, dtype=np.intp)
    probs = np.array([[0.9, 0.1]] * 4 + [[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3)
    ids = [f"s{i}" for i in range(10)]
    scores = score_leakage(probs, y, sample_ids=ids, affected_ids=ids[:4])
    assert scores.affected is not None
    assert scores.unaffected is not None
    assert (scores.all.value, scores.affected.value, scores.unaffected.value) == (0.7, 1.0, 0.5)
    assert (scores.all.n, scores.affected.n, scores.unaffected.n) == (10, 4, 6)
    assert "70.0 % with the 4 photographs" in str(scores.messages()[0])
    assert "50.0 % without them" in str(scores.messages()[0])


def test_all_or_none_affected() -> None:
    probs, y = np.array([[0.9, 0.1], [0.2, 0.8]]), np.zeros(2, dtype=np.intp)
    none = score_leakage(probs, y, sample_ids=["a", "b"], affected_ids=["elsewhere"])
    assert none.affected is None
    assert none.messages() == ()
    every = score_leakage(probs, y, sample_ids=["a", "b"], affected_ids=["a", "b"])
    assert every.unaffected is None
    assert "the accuracy says nothing" in str(every.messages()[0])


@pytest.mark.shared
def test_the_pairs_that_cross_sports15_are_found(shared: Callable[[str], Path]) -> None:
    root = shared("data/sports15")
    parts: dict[str, SplitName] = {"train": "train", "valid": "val", "test": "test"}
    samples = [
        Sample(
            sample_id=path.relative_to(root).as_posix(),
            content_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            uri=str(path),
            source=str(root),
            width=224,
            height=224,
            mode="RGB",
            format="JPEG",
            n_bytes=path.stat().st_size,
            label=path.parent.name,
            split=parts[path.parts[-3]],
        )
        for path in sorted(root.glob("*/*/*.jpg"))
    ]
    split = given_split(samples).split
    leakage = find_leakage(samples, split)
    assert len(leakage.pairs) == 5
    assert all(Path(a).name and (root / a).read_bytes() == (root / b).read_bytes() for a, b in leakage.pairs)
    assert len(leakage.val_ids) + len(leakage.test_ids) == 5
