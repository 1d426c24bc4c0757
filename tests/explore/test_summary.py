"""Figures of a catalogue whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mirada.explore.balance import balance
from mirada.explore.columns import collect
from mirada.explore.copies import find_copies
from mirada.explore.document import document
from mirada.explore.findings import findings
from mirada.explore.spread import bars, spread
from mirada.explore.summary import MOST_SIZES, summarise
from mirada.imaging.statistics import STATISTICS
from mirada.types import Rejected, Sample, SplitName


def sample(
    i: int, label: str | None = "cat", *, size: tuple[int, int] = (640, 480), content: str = "",
    split: SplitName | None = None, group: str | None = None, mode: str = "RGB", fmt: str = "JPEG", n_bytes: int = 1000,
) -> Sample:  # fmt: skip
    return Sample(
        sample_id=f"{i:06d}", content_sha256=content or f"sha{i}", uri=f"/photos/{label}/{i}.jpg", source="/photos",
        width=size[0], height=size[1], mode=mode, format=fmt, n_bytes=n_bytes, label=label, split=split, group_id=group,
    )  # fmt: skip


def pack() -> list[Sample]:
    """Six cats, two dogs, one without a label."""
    return [
        *(sample(i, "cat", n_bytes=1000 * (i + 1)) for i in range(4)),
        sample(4, "cat", size=(480, 640), mode="L"),
        sample(5, "cat", size=(500, 500), fmt="PNG"),
        sample(6, "dog", content="sha0"),
        sample(7, "dog"),
        sample(8, None),
    ]


def stats_of(n: int, **columns: float) -> np.ndarray:
    values = np.zeros((n, len(STATISTICS)), np.float32)
    for name, value in columns.items():
        values[:, STATISTICS.index(name)] = value
    return values


def test_the_figures_are_exact() -> None:
    made = summarise(collect(pack()), rejected=[Rejected("/x", "/photos", "empty"), Rejected("/y", "/photos", "empty")])
    assert (made.n, made.n_unlabelled, made.n_rejected) == (9, 1, 2)
    assert made.rejected == {"empty": 2}
    assert [(portrait.name, portrait.n) for portrait in made.classes] == [("cat", 6), ("dog", 2), (None, 1)]
    cat = made.classes[0]
    assert cat.share == pytest.approx(6 / 9)
    assert cat.commonest_size == (640, 480, 4)
    assert (cat.n_sizes, cat.n_landscape, cat.n_square, cat.n_portrait) == (3, 4, 1, 1)
    assert cat.formats == {"JPEG": 5, "PNG": 1}
    assert cat.channels == {"RGB": 5, "L": 1}
    assert cat.total_bytes == 12_000
    assert cat.n_bytes is not None
    assert cat.n_bytes.median == 1500
    assert cat.n_grey is None
    assert made.all.is_all
    assert made.all.n == 9
    assert sum(dot.n for dot in made.sizes) == 9
    assert sum(made.bars["aspect"].counts) == 9


def test_grey_is_told_by_pixels_and_nan_is_not_grey() -> None:
    samples = pack()
    stats = stats_of(len(samples), brightness=0.5, chroma=0.4)
    stats[4, STATISTICS.index("chroma")] = 0.0
    stats[7] = np.nan
    made = summarise(collect(samples), stats=stats)
    assert made.all.n_grey == 1
    assert made.classes[0].n_grey == 1
    assert made.classes[1].n_grey == 0
    assert made.all.n_measured == 8
    assert made.all.statistics["brightness"].n == 8
    assert made.all.statistics["brightness"].median == 0.5


def test_balance_says_what_it_means() -> None:
    found = balance({"a": 75, "b": 25, "c": 0})
    assert found is not None
    assert (found.level, found.n_classes, found.largest, found.smallest) == ("marked", 2, ("a", 75), ("b", 25))
    assert found.ratio == 3
    assert found.guess == 0.75
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found.effective_classes == pytest.approx(math.exp(entropy))
    assert "3.0 times" in str(found.messages()[0])
    assert any("75.0 %" in str(message) for message in found.messages())
    assert not found.few


@pytest.mark.parametrize(
    ("counts", "level"),
    [
        ({"a": 100}, "one_class"),
        ({"a": 100, "b": 90}, "balanced"),
        ({"a": 100, "b": 50}, "mild"),
        ({"a": 100, "b": 20}, "marked"),
        ({"a": 100, "b": 10}, "severe"),
    ],
)
def test_levels_of_balance(counts: dict[str, int], level: str) -> None:
    found = balance(counts)
    assert found is not None
    assert found.level == level
    assert all(str(message) for message in found.messages())
    assert balance({}) is None


def test_copies_and_leakage_are_counted() -> None:
    samples = [
        sample(0, "cat", content="a", split="train"),
        sample(1, "cat", content="a", split="test"),
        sample(2, "dog", content="a", split="test"),
        sample(3, "dog", group="g", split="train"),
        sample(4, "dog", group="g", split="val"),
        sample(5, "dog", content="e", group="h", split="val"),
        sample(6, "dog", content="e", group="h", split="val"),
        sample(7, "dog", split="test"),
    ]
    found = find_copies(collect(samples))
    assert (found.exact.n_groups, found.exact.n_photos, found.exact.n_extra, found.exact.n_conflicts) == (2, 5, 3, 1)
    assert found.near is not None
    assert (found.near.n_groups, found.near.n_photos) == (1, 2)  # group h is of identical bytes
    assert found.leakage is not None
    assert (found.leakage.n_groups, found.leakage.n_test, found.leakage.n_val) == (2, 2, 1)


def test_nobody_looked_for_near_duplicates_nor_split() -> None:
    found = find_copies(collect(pack()))
    assert found.near is None
    assert found.leakage is None
    assert found.exact.n_conflicts == 1
    said = " ".join(str(finding.message) for finding in findings(summarise(collect(pack()))))
    assert "mirada clean" in said
    assert "several labels" in said


def test_nothing_one_and_only_unlabelled() -> None:
    assert summarise(collect([])).n == 0
    one = summarise(collect([sample(0)]))
    assert one.balance is not None
    assert one.balance.level == "one_class"
    bare = summarise(collect([sample(i, None) for i in range(3)]))
    assert bare.balance is None
    assert bare.classes[0].name is None
    assert bare.n_unlabelled == 3


def test_many_sizes_become_a_bounded_number_of_dots() -> None:
    rng = np.random.default_rng(0)
    sides = rng.integers(100, 4000, (5000, 2))
    made = summarise(collect(sample(i, size=(int(w), int(h))) for i, (w, h) in enumerate(sides)))
    assert len(made.sizes) <= MOST_SIZES
    assert sum(dot.n for dot in made.sizes) == 5000


def test_spread_and_bars_pass_over_what_is_not_a_number() -> None:
    found = spread([1, 2, 3, np.nan, 4, 5])
    assert found is not None
    assert (found.n, found.minimum, found.median, found.maximum) == (5, 1, 3, 5)
    assert spread([np.nan]) is None
    alike = bars([2.0] * 10)
    assert alike is not None
    assert sum(alike.counts) == 10


def test_the_document_is_json() -> None:
    import json

    columns = collect(pack())
    made = document(summarise(columns, stats=stats_of(9, brightness=0.5)), columns)
    again = json.loads(json.dumps(made, allow_nan=False))
    assert again["schema"] == "mirada.explore/1"
    assert again["n"] == {"photographs": 9, "unlabelled": 1, "rejected": 0, "bytes": 15_000}
    assert again["classes"][0]["commonest_size"] == {"width": 640, "height": 480, "n": 4}
    assert again["classes"][2]["label"] is None
    assert again["all"]["statistics"]["brightness"]["median"] == 0.5
