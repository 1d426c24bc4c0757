"""A catalogue with issues, without photographs on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import photo_id
from mirada.types import Issue, Rejected, Sample

CLASSES = ("Café & té", "Pizza", "Sushi")


@pytest.fixture(scope="session")
def sample() -> Callable[[int], Sample]:
    """The i-th photograph; classes take turns."""

    def make(i: int) -> Sample:
        uri = f"/photos/{CLASSES[i % 3]}/{i:03d}.jpg"
        key = photo_id("/photos", uri)
        return Sample(key, f"{i:064d}", uri, "/photos", 64, 48, "RGB", "JPEG", 1000 + i, CLASSES[i % 3], "source")

    return make


@pytest.fixture
def catalog(sample: Callable[[int], Sample]) -> Iterator[Catalog]:
    """Twelve samples; `label` flags the first six, `dark` the first three; one photograph cannot be read."""
    with Catalog.open("sqlite://") as opened:
        opened.add([sample(i) for i in range(12)], [Rejected("/photos/Pizza/bad.jpg", "/photos", "truncated")])
        evidence = [{"suggested": CLASSES[(i + 1) % 3], "p_suggested": 0.9} for i in range(6)]
        opened.replace_issues(
            "label", [Issue(sample(i).sample_id, "label", i / 10, True, 0.7, evidence[i]) for i in range(6)]
        )
        opened.replace_issues("dark", [Issue(sample(i).sample_id, "dark", i / 10, True, 0.7) for i in range(3)])
        key = photo_id("/photos", "/photos/Pizza/bad.jpg")
        opened.replace_issues("corrupt", [Issue(key, "corrupt", 0.0, True, 0.5)])
        yield opened
