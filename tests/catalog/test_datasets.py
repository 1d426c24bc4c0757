"""Dataset versions and splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from mirada.catalog.catalog import Catalog
from mirada.errors import InputError, NotFound
from mirada.types import DatasetVersion, Decision, Sample, Split

Make = Callable[..., Sample]


def test_a_dataset_id_is_the_hash_that_its_docstring_describes(catalog: Catalog, sample: Make) -> None:
    given = [sample(i, label=label) for i, label in enumerate(["cat", "dög", None, "cat"])]
    catalog.add(given)
    catalog.decide([Decision(given[3].sample_id, "drop"), Decision(given[0].sample_id, "relabel", new="owl")])
    lines = []
    for one, label in sorted(zip(given[:3], ["owl", "dög", None], strict=True), key=lambda pair: pair[0].sample_id):
        lines.append(json.dumps([one.sample_id, one.content_sha256, label], separators=(",", ":")) + "\n")
    version = catalog.freeze_dataset()
    assert version.dataset_id == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert version == DatasetVersion(version.dataset_id, None, ("dög", "owl"), 3, {"dög": 1, "owl": 1})
    assert catalog.dataset(version.dataset_id) == version


def test_the_order_of_adding_does_not_matter(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(i) for i in range(2500)])
    with Catalog.open("sqlite://") as other:
        other.add([sample(i) for i in reversed(range(2500))])
        assert other.freeze_dataset().dataset_id == catalog.freeze_dataset().dataset_id


def test_versions_have_parents_and_the_same_state_is_one_version(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(1), sample(2)])
    first = catalog.freeze_dataset()
    assert catalog.freeze_dataset() == first
    catalog.decide([Decision(sample(1).sample_id, "drop")])
    second = catalog.freeze_dataset()
    assert second.parent_id == first.dataset_id
    catalog.undo()
    assert catalog.freeze_dataset() == first
    assert catalog.datasets() == [first, second]
    with pytest.raises(NotFound, match="no dataset version nothing"):
        catalog.dataset("nothing")


def test_an_empty_catalogue_has_a_version_too(catalog: Catalog) -> None:
    assert catalog.freeze_dataset().n_samples == 0


@pytest.fixture
def ids(catalog: Catalog, sample: Make) -> list[str]:
    catalog.add([sample(i, label=("cat", "dog")[i % 2]) for i in range(3000)])
    return [sample(i).sample_id for i in range(3000)]


def _split(name: str, ids: list[str], a: int, b: int, c: int) -> Split:
    return Split(name, "d", "stratified", 7, tuple(ids[:a]), tuple(ids[a:b]), tuple(ids[b:c]))


def test_a_split_is_given_back_and_applied(catalog: Catalog, ids: list[str]) -> None:
    assert catalog.latest_split() is None
    split = _split("s1", ids, 2000, 2500, 2900)
    catalog.save_split(split)
    assert catalog.split("s1") == catalog.latest_split() == split
    assert catalog.counts()["by_split"] == {"test": 400, "train": 2000, "val": 500}
    assert catalog.counts_by_class("test") == {"cat": 200, "dog": 200}
    assert {one.sample_id for one in catalog.samples(split="val")} == set(split.val)
    assert {one.sample_id for one in catalog.samples(split="")} == set(ids[2900:])


def test_the_next_split_moves_samples_and_leaves_none_behind(catalog: Catalog, ids: list[str]) -> None:
    first, second = _split("s1", ids, 2000, 2500, 3000), _split("s2", ids, 100, 150, 200)
    catalog.save_split(first)
    catalog.save_split(second)
    assert catalog.counts()["by_split"] == {"test": 50, "train": 100, "val": 50}
    assert catalog.split("s1") == first
    catalog.save_split(first)  # applied again, stored once
    assert catalog.latest_split() == second
    assert catalog.counts()["by_split"] == {"test": 500, "train": 2000, "val": 500}


def test_a_split_that_does_not_fit_changes_nothing(catalog: Catalog, ids: list[str]) -> None:
    with pytest.raises(NotFound, match="names 1 samples that the catalogue lacks"):
        catalog.save_split(_split("s1", [*ids[:10], "stranger"], 5, 8, 11))
    with pytest.raises(InputError, match="names a sample twice"):
        catalog.save_split(Split("s1", "d", "x", 0, (ids[0],), (ids[0],), ()))
    with pytest.raises(NotFound, match="no split s1"):
        catalog.split("s1")
    assert catalog.counts()["by_split"] == {}


def test_single_samples_move_between_splits(catalog: Catalog, ids: list[str]) -> None:
    assert catalog.set_sample_splits({ids[0]: "train", ids[1]: "test", "none": "val"}) == 2
    assert catalog.set_sample_splits({ids[1]: None}) == 1
    assert catalog.counts()["by_split"] == {"train": 1}
