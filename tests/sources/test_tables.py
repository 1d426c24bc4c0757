from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.errors import DecodeError, InputError
from mirada.sources.base import Source, detect
from mirada.sources.reader import PhotoReader
from mirada.sources.records import read_rows

Make = Callable[..., Path]


def listing(source: Source, root: Path) -> dict[str, tuple[str | None, str | None]]:
    """name below root → (label, split)"""
    return {photo.uri.removeprefix(f"{root}/"): (photo.label, photo.split) for photo in source.photos()}


def notes(source: Source) -> str:
    return "\n".join(str(note) for note in source.describe().notes)


TABLES = {
    "t.csv": "image,label,split\nimg/1.jpg,cat,train\nimg/2.jpg,dog,validation\n",
    "semicolon.csv": "Klasse;File Name\ncat;img/1.jpg\ndog;img/2.jpg\n",
    "spanish.csv": "Archivo;Ancho;Etiqueta\nimg/1.jpg;3;cat\nimg/2.jpg;4;dog\n",
    "tab.tsv": "filepath\tcategory\nimg/1.jpg\tcat\nimg/2.jpg\tdog\n",
    "bare.csv": "img/1.jpg,cat\nimg/2.jpg,dog\n",
    "quoted.csv": '"file_name","caption","target"\n"img/1.jpg","two\nlines, one cell","cat"\n"img/2.jpg","","dog"\n',
    "list.json": '[{"path": "img/1.jpg", "class": "cat"}, {"path": "img/2.jpg", "class": "dog"}]',
    "columns.json": '{"photo": ["img/1.jpg", "img/2.jpg"], "label": ["cat", "dog"]}',
    "mapping.json": '{"img/1.jpg": "cat", "img/2.jpg": "dog"}',
    "lines.jsonl": '{"img": "img/1.jpg", "y": "cat"}\n\n{"img": "./img/2.jpg", "y": "dog"}\n',
    "lines_by_another_name.json": '{"img": "img/1.jpg", "y": "cat"}\n{"img": "img/2.jpg", "y": "dog"}\n',
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_tables_of_paths(make_tree: Make, name: str, encoding: str) -> None:
    root = make_tree("img/1.jpg", "img/2.jpg")
    (root / name).write_text(TABLES[name], encoding=encoding)
    source = detect(root / name)
    found = listing(source, root)
    assert {path: label for path, (label, _) in found.items()} == {"img/1.jpg": "cat", "img/2.jpg": "dog"}
    assert source.describe().class_names == ("cat", "dog")
    assert source.describe().splits == (("train", "val") if name == "t.csv" else ())
    assert source.name == str(root / name)
    reader = PhotoReader()
    assert all(reader.read(photo.uri)[:2] == b"\xff\xd8" for photo in source.photos())
    assert [photo.n_bytes for photo in source.photos()] == [(root / f"img/{i}.jpg").stat().st_size for i in (1, 2)]


def test_encodings_of_spreadsheets(make_tree: Make) -> None:
    root = make_tree("1.jpg")
    for encoding in ("cp1252", "utf-16"):
        (root / "t.csv").write_text("image,label\n1.jpg,piñata\n", encoding=encoding)
        assert detect(root / "t.csv").describe().class_names == ("piñata",)


def test_whole_numbers_blanks_and_windows_paths(make_tree: Make) -> None:
    root = make_tree("a/1.jpg", "a/2.jpg", "a/3.jpg")
    (root / "t.json").write_text(
        '[{"image": "a\\\\1.jpg", "label": 3}, {"image": "a/2.jpg", "label": 3.0}, {"image": "a/3.jpg", "label": ""}]'
    )
    assert [label for label, _ in listing(detect(root / "t.json"), root).values()] == ["3", "3", None]
    assert set(listing(detect(root / "t.json"), root)) == {"a/1.jpg", "a/2.jpg", "a/3.jpg"}


def test_absolute_paths_and_paths_above(make_tree: Make) -> None:
    outside = make_tree("x.jpg", root="outside")
    root = make_tree("1.jpg")
    (root / "t.csv").write_text(f"image,label\n{outside}/x.jpg,cat\n../outside/x.jpg,cat\n1.jpg,dog\n")
    source = detect(root / "t.csv")
    assert [photo.uri for photo in source.photos()] == [f"{outside}/x.jpg", f"{root}/1.jpg"]
    assert "1 row names a photograph that an earlier row names" in notes(source)


def test_a_listed_file_that_is_missing_is_listed(make_tree: Make) -> None:
    root = make_tree("1.jpg")
    (root / "t.csv").write_text("image,label\n1.jpg,cat\ngone.jpg,dog\n")
    gone = list(detect(root / "t.csv").photos())[1]
    assert (gone.label, gone.n_bytes, gone.mtime_ns) == ("dog", None, None)


def test_no_label_column_is_told(make_tree: Make) -> None:
    root = make_tree("1.jpg")
    (root / "t.csv").write_text("image,width,height\n1.jpg,3,4\n")
    source = detect(root / "t.csv")
    assert listing(source, root) == {"1.jpg": (None, None)}
    assert "there is no column of labels" in notes(source)


def test_names_that_can_be_no_file_are_missing(make_tree: Make) -> None:
    root = make_tree("1.jpg")
    (root / "t.json").write_text('[{"image": "a\\u0000b.jpg"}, {"image": "\\ud800.jpg", "label": "\\ud800"}]')
    source = detect(root / "t.json")
    reader = PhotoReader()
    for photo in source.photos():
        photo.uri.encode("utf-8")
        with pytest.raises(DecodeError):
            reader.read(photo.uri)
    assert source.describe().class_names == ("\ufffd" * 3,)
    assert source.signature()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.json", '[{"image": "1.jpg", "label": ["cat", "dog"]}]', "one label"),
        ("t.csv", "width,height\n1,2\n", "its columns are: width, height"),
        ("t.jsonl", '{"a": 1, "b": 2}\n', "its columns are: a, b"),
        ("t.csv", "", "it is empty"),
        ("t.csv", "image,label\n", "names no photograph"),
        ("t.json", "[]", "names no photograph"),
        ("t.json", "[1, 2]", "neither a list of objects"),
        ("t.json", '{"a": [1], "b": [1, 2]}', "different lengths"),
        ("t.json", '[{"image": ', "cannot be read as a table"),
        ("t.json", "[" * 100_000, "nested too deeply"),
        ("t.jsonl", '{"image": "1.jpg"}\n{"image"\n', "line 2"),
        ("t.jsonl", '{"image": "1.jpg"}\n3\n', "line 2 is not an object"),
        ("t.csv", 'image,label\n"1.jpg,cat\n', "line"),
        ("t.csv", "url,label\nhttps://example.org/1.jpg,cat\n", "holds web addresses"),
        ("t.csv", "image,label\n1.jpg,cat\n2.jpg,Cat\n", "'Cat' and 'cat'"),
    ],
)
def test_bad_tables_are_sentences(make_tree: Make, name: str, content: str, sentence: str) -> None:
    root = make_tree("1.jpg", "2.jpg")
    (root / name).write_text(content)
    with pytest.raises(InputError, match=sentence) as caught:
        detect(root / name)
    assert str(root / name) in str(caught.value) or sentence == "one label"


def test_rows_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"image": "1.jpg"}\n' * 3 + "broken")
    rows = read_rows(str(path))
    assert next(iter(rows)) == {"image": "1.jpg"}


def test_an_edited_table_has_another_signature(make_tree: Make) -> None:
    root = make_tree("1.jpg", "2.jpg")
    (root / "t.csv").write_text("image,label\n1.jpg,cat\n2.jpg,dog\n")
    first = detect(root / "t.csv").signature()
    (root / "t.csv").write_text("image,label\n1.jpg,cat\n2.jpg,bird\n")
    assert detect(root / "t.csv").signature() != first
    second = detect(root / "t.csv").signature()
    (root / "1.jpg").write_bytes(b"other")
    assert detect(root / "t.csv").signature() != second
