"""Subsets in the catalogue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mirada.catalog.catalog import Catalog
from mirada.catalog.subsets import SubsetRow
from mirada.errors import Conflict, NotFound
from mirada.types import Decision, Sample


def test_a_subset_comes_back_with_its_members_in_order(catalog: Catalog) -> None:
    ids = [f"id{i}" for i in range(12_000, 0, -1)]
    catalog.save_subset(SubsetRow("small", "{}", "h", "d", len(ids)), ids)
    row = catalog.subset("small")
    assert row is not None
    assert (row.name, row.recipe, row.ids_hash, row.dataset_id, row.n_samples) == ("small", "{}", "h", "d", 12_000)
    assert row.made_at.startswith("20")
    assert catalog.subset_ids("small") == ids
    assert catalog.subset("other") is None
    assert catalog.subset_ids("other") == []


def test_a_name_is_taken_until_it_is_replaced(catalog: Catalog) -> None:
    catalog.save_subset(SubsetRow("b", "{}", "h", "d", 1), ["x"])
    with pytest.raises(Conflict, match="a subset b already"):
        catalog.save_subset(SubsetRow("b", "{}", "i", "d", 1), ["y"])
    assert catalog.subset_ids("b") == ["x"]
    catalog.save_subset(SubsetRow("b", "{}", "i", "d", 2), ["y", "z"], replace=True)
    catalog.save_subset(SubsetRow("a", "{}", "h", "d", 0), [], replace=True)
    assert catalog.subset_ids("b") == ["y", "z"]
    assert [(row.name, row.ids_hash) for row in catalog.subsets()] == [("a", "h"), ("b", "i")]


def test_a_subset_is_forgotten(catalog: Catalog) -> None:
    catalog.save_subset(SubsetRow("a", "{}", "h", "d", 1), ["x"])
    catalog.delete_subset("a")
    assert catalog.subsets() == []
    assert catalog.subset_ids("a") == []
    with pytest.raises(NotFound, match="no subset a"):
        catalog.delete_subset("a")


def test_the_last_decision_of_a_version(catalog: Catalog, sample: Callable[..., Sample]) -> None:
    catalog.add([sample(1), sample(2)])
    first = catalog.freeze_dataset().dataset_id
    (made,) = catalog.decide([Decision(sample(1).sample_id, "drop")])
    second = catalog.freeze_dataset().dataset_id
    assert (catalog.last_decision(first), catalog.last_decision(second)) == (0, made)
    with pytest.raises(NotFound, match="no dataset version"):
        catalog.last_decision("none")
