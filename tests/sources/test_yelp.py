from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.errors import InputError, NotFound
from mirada.sources.base import detect

Make = Callable[..., Path]


def write_table(root: Path, labels: dict[str, str]) -> None:
    rows = ({"photo_id": key, "business_id": "b", "caption": "", "label": label} for key, label in labels.items())
    (root / "photos.json").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_listed_missing_and_unlisted(make_tree: Make) -> None:
    root = make_tree("photos/a-1.jpg", "photos/_b.png", "photos/stray.jpg", "photos/readme.txt")
    write_table(root, {"a-1": "food", "_b": "drink", "gone": "menu"})
    for path in (root, root / "photos.json"):
        source = detect(path)
        assert [(photo.uri, photo.label, photo.n_bytes is None) for photo in source.photos()] == [
            (f"{root}/photos/a-1.jpg", "food", False),
            (f"{root}/photos/_b.png", "drink", False),
            (f"{root}/photos/gone.jpg", "menu", True),
        ]
        info = source.describe()
        assert (info.format, info.class_names, source.name) == ("yelp", ("drink", "food", "menu"), str(root))
        told = "\n".join(str(note) for note in info.notes)
        assert "1 photograph in the folder is not in the table and was left out: stray.jpg." in told
        assert ".txt (1)" in told


def test_a_folder_named_photos_alone_is_no_yelp(make_tree: Make) -> None:
    root = make_tree("photos/a.jpg", "other/b.jpg")
    assert detect(root).describe().format == "folders"
    with pytest.raises(NotFound, match=r"no photos\.json"):
        detect(root, format="yelp")
    bare = make_tree("x.txt", root="bare")
    write_table(bare, {"a": "food"})
    with pytest.raises(InputError, match="no folder photos/"):
        detect(bare, format="yelp")


@pytest.mark.shared
def test_restaurant_dirty(shared: Callable[[str], Path]) -> None:
    source = detect(shared("data/restaurant_dirty"))
    assert source.describe().class_names == ("drink", "food", "inside", "menu", "outside")
    assert sum(photo.n_bytes is None for photo in source.photos()) == 1
