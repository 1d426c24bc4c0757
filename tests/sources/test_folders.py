from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.errors import InputError, NotFound, UsageError
from mirada.sources.base import Source, detect
from mirada.sources.reader import PhotoReader

Make = Callable[..., Path]


def listing(source: Source, root: Path) -> dict[str, tuple[str | None, str | None]]:
    """name below root → (label, split)"""
    return {photo.uri.removeprefix(f"{root}/"): (photo.label, photo.split) for photo in source.photos()}


def notes(source: Source) -> str:
    return "\n".join(str(note) for note in source.describe().notes)


def test_a_folder_a_class_and_deeper_folders_belong_to_it(make_tree: Make) -> None:
    root = make_tree("cat/1.jpg", "cat/2019/summer/2.JPG", "dog/3.png")
    source = detect(root)
    assert listing(source, root) == {
        "cat/1.jpg": ("cat", None),
        "cat/2019/summer/2.JPG": ("cat", None),
        "dog/3.png": ("dog", None),
    }
    info = source.describe()
    assert (info.format, info.root, info.class_names, info.splits) == ("folders", str(root), ("cat", "dog"), ())
    assert info.notes == ()


@pytest.mark.parametrize(("name", "split"), [("valid", "val"), ("val", "val"), ("Validation", "val"), ("VAL", "val")])
def test_split_folders_in_any_case(make_tree: Make, name: str, split: str) -> None:
    root = make_tree("Train/cat/1.jpg", "Train/dog/2.jpg", f"{name}/cat/3.jpg", "TEST/dog/4.jpg")
    source = detect(root)
    assert listing(source, root) == {
        "Train/cat/1.jpg": ("cat", "train"),
        "Train/dog/2.jpg": ("dog", "train"),
        f"{name}/cat/3.jpg": ("cat", split),
        "TEST/dog/4.jpg": ("dog", "test"),
    }
    assert source.describe().splits == ("train", "val", "test")


def test_a_word_in_a_file_name_means_nothing(make_tree: Make) -> None:
    root = make_tree("cat/train.jpg", "cat/test_2.jpg", "dog/validation.jpg")
    assert {split for _, split in listing(detect(root), root).values()} == {None}


def test_train_beside_other_photographs_is_a_class(make_tree: Make) -> None:
    root = make_tree("car/1.jpg", "plane/2.jpg", "train/3.jpg", "train/steam/4.jpg")
    assert detect(root).describe().class_names == ("car", "plane", "train")
    assert detect(root).describe().splits == ()


def test_a_test_folder_without_classes_is_unlabelled(make_tree: Make) -> None:
    root = make_tree("train/cat/1.jpg", "train/dog/2.jpg", "test/3.jpg")
    source = detect(root)
    assert listing(source, root)["test/3.jpg"] == (None, "test")
    assert "Photographs in test lie in no class folder" in notes(source)


def test_stray_folders_are_told_and_are_no_classes(make_tree: Make) -> None:
    root = make_tree(
        "cat/1.jpg", "cat/._1.jpg", "dog/2.jpg", "dog/readme.txt", ".cache/3.jpg", "__MACOSX/4.jpg", "runs/exp/5.jpg",
        "mirada/mirada.toml", "mirada/thumbnails/6.jpg", "empty/", "texts/a.txt", "loose.jpg",
    )  # fmt: skip
    source = detect(root)
    assert set(listing(source, root)) == {"cat/1.jpg", "dog/2.jpg"}
    told = notes(source)
    assert "Hidden folders are left out: .cache." in told
    assert "a system or a tool left behind are left out: __MACOSX." in told
    assert "tools write their results are no classes: runs/exp." in told
    assert "Folders of a Mirada workspace are left out: mirada." in told
    assert "Folders without photographs are no classes: empty, texts." in told
    assert "1 photograph beside the class folders has no class and was left out: loose.jpg." in told
    assert ".txt (2)" in told


def test_strays_beside_splits_are_told(make_tree: Make) -> None:
    root = make_tree("train/cat/1.jpg", "test/cat/2.jpg", "other/3.jpg", "train/loose.jpg", "train/runs/4.jpg")
    source = detect(root)
    assert set(listing(source, root)) == {"train/cat/1.jpg", "test/cat/2.jpg"}
    told = notes(source)
    assert "Folders beside train / val / test are left out: other." in told
    assert "loose.jpg" in told
    assert "no classes: train/runs." in told


def test_a_flat_folder_has_no_labels(make_tree: Make) -> None:
    root = make_tree("1.jpg", "2.jpg", "notes.txt")
    source = detect(root)
    assert listing(source, root) == {"1.jpg": (None, None), "2.jpg": (None, None)}
    assert source.describe().class_names == ()


@pytest.mark.parametrize(
    ("file_name", "content"),
    [
        ("labels.csv", "file,label\n1.jpg,cat\nsub/2.jpg,dog\nghost.jpg,cat\n"),
        ("labels.csv", "1.jpg;cat\n2.jpg;dog\nghost.jpg;cat\n"),
        ("labels.json", '{"1.jpg": "cat", "2.jpg": "dog", "ghost.jpg": "cat"}'),
        ("labels.jsonl", '{"id": "1", "breed": "cat"}\n{"id": "2", "breed": "dog"}\n{"id": "ghost", "breed": "cat"}\n'),
    ],
)
def test_a_labels_file_is_the_truth(make_tree: Make, tmp_path: Path, file_name: str, content: str) -> None:
    root = make_tree("1.jpg", "sub/2.jpg", "sub/3.jpg")
    (tmp_path / file_name).write_text(content)
    source = detect(root, labels=tmp_path / file_name)
    found = {name: label for name, (label, _) in listing(source, root).items()}
    assert found == {"1.jpg": "cat", "sub/2.jpg": "dog", "sub/3.jpg": None}
    assert source.describe().class_names == ("cat", "dog")
    assert "1 photograph is not in the labels file and has no label: sub/3.jpg." in notes(source)
    assert "1 name in the labels file is of no photograph here: ghost" in notes(source)


def test_labels_go_with_folders_alone(make_tree: Make, tmp_path: Path) -> None:
    root = make_tree("1.jpg")
    (root / "t.csv").write_text("image,label\n1.jpg,cat\n")
    with pytest.raises(UsageError, match="brings its own labels"):
        detect(root / "t.csv", labels=root / "t.csv")
    with pytest.raises(NotFound, match=r"nothing at .*none\.csv"):
        detect(root, labels=tmp_path / "none.csv")


ODD = ["a b", "ñandú", "it's", 'say "hi"', "🐈", "line\nbreak", "<b>&bold;", "100%", "#1", "{x}", "-o", "日本語"]


def test_odd_names_are_legal(make_tree: Make) -> None:
    root = make_tree(*(f"{name}/{name}.jpg" for name in ODD))
    source = detect(root)
    assert source.describe().class_names == tuple(sorted(ODD))
    reader = PhotoReader()
    for photo in source.photos():
        assert reader.read(photo.uri)[:2] == b"\xff\xd8"


def test_names_that_are_not_utf8_work(make_tree: Make) -> None:
    root = make_tree("cat/1.jpg", "dog/2.jpg")
    folder = root / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes((root / "cat/1.jpg").read_bytes())
    source = detect(root)
    photo = next(photo for photo in source.photos() if "caf" in photo.uri)
    assert photo.uri == f"file://{root}/caf%E9/%FF.jpg"
    assert photo.label == "caf\ufffd"
    assert PhotoReader().read(photo.uri) == (root / "cat/1.jpg").read_bytes()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Cat", "cat"),
        ("cat", "cat "),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
    ],
)
def test_names_that_look_alike_are_refused(make_tree: Make, first: str, second: str) -> None:
    root = make_tree(f"{first}/1.jpg", f"{second}/2.jpg", "dog/3.jpg")
    with pytest.raises(InputError, match="differ only in case, accents' encoding or blanks") as caught:
        detect(root)
    assert repr(first) in str(caught.value)
    assert repr(second) in str(caught.value)
    assert "Give them one name" in str(caught.value)


def test_lookalikes_in_two_splits_are_refused(make_tree: Make) -> None:
    with pytest.raises(InputError, match="'Cat' and 'cat'"):
        detect(make_tree("train/cat/1.jpg", "train/dog/2.jpg", "test/Cat/3.jpg"))


def test_labels_have_one_unicode_form(make_tree: Make) -> None:
    root = make_tree(f"{unicodedata.normalize('NFD', 'café')}/1.jpg", " tea /2.jpg")
    assert detect(root).describe().class_names == ("café", "tea")


def test_link_loops_are_told_and_not_followed_twice(make_tree: Make) -> None:
    root = make_tree("cat/1.jpg", "dog/2.jpg")
    (root / "cat" / "again").symlink_to(root)
    (root / "dog" / "cats").symlink_to(root / "cat")
    (root / "cat" / "self.jpg").symlink_to("self.jpg")
    source = detect(root)
    assert set(listing(source, root)) == {"cat/1.jpg", "cat/self.jpg", "dog/2.jpg"}
    assert "Links to folders that are read already are not followed a second time: cat/again, dog/cats." in notes(
        source
    )


def test_a_link_to_a_folder_above_ends(make_tree: Make, tmp_path: Path) -> None:
    root = make_tree("cat/1.jpg", "dog/2.jpg")
    (root / "cat" / "up").symlink_to(tmp_path)
    source = detect(root)
    assert set(listing(source, root)) == {"cat/1.jpg", "dog/2.jpg"}
    assert "cat/up/photos" in notes(source)


def test_links_to_files_and_folders_are_followed(make_tree: Make) -> None:
    outside = make_tree("x.jpg", "y.jpg", root="outside")
    root = make_tree("cat/1.jpg", "dog/2.jpg")
    (root / "cat" / "linked.jpg").symlink_to(outside / "x.jpg")
    (root / "bird").symlink_to(outside)
    source = detect(root)
    found = listing(source, root)
    assert found["cat/linked.jpg"] == ("cat", None)
    assert found["bird/y.jpg"] == ("bird", None)
    assert PhotoReader().read(f"{root}/cat/linked.jpg") == (outside / "x.jpg").read_bytes()


def test_order_is_the_same_each_time_and_uris_are_absolute(make_tree: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_tree("b/2.jpg", "a/10.jpg", "a/9.jpg", "a/z/1.jpg")
    monkeypatch.chdir(root.parent)
    uris = [photo.uri for photo in detect("photos").photos()]
    assert uris == [f"{root}/{name}" for name in ("a/10.jpg", "a/9.jpg", "a/z/1.jpg", "b/2.jpg")]
    assert detect("./photos/../photos").name == str(root)


def test_the_signature_moves_with_what_matters(make_tree: Make, tmp_path: Path) -> None:
    root = make_tree("cat/1.jpg", "dog/2.jpg")
    first = detect(root).signature()
    assert detect(root).signature() == first
    (root / "notes.txt").write_text("x")
    assert detect(root).signature() == first
    os.utime(root / "cat" / "1.jpg", ns=(1, 1))
    second = detect(root).signature()
    assert second != first
    (root / "dog" / "2.jpg").rename(root / "dog" / "3.jpg")
    assert detect(root).signature() not in (first, second)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "is empty"),
        (["a.txt", "b/c.csv"], r"no photograph in .*2 files that are no photographs were left out"),
        (["runs/1.jpg"], "no photograph in"),
    ],
)
def test_nothing_to_add_is_a_sentence(make_tree: Make, names: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        detect(make_tree(*names))


def test_missing_folder_unknown_format_and_odd_files(make_tree: Make, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing at .*/nowhere"):
        detect(tmp_path / "nowhere")
    root = make_tree("cat/1.jpg")
    with pytest.raises(UsageError, match=r"Did you mean folders\?") as caught:
        detect(root, format="folder")
    assert "parquet" in str(caught.value)
    with pytest.raises(InputError, match=r"does not recognise .*1\.jpg"):
        detect(root / "cat" / "1.jpg")


def test_what_may_not_be_read_is_a_sentence(make_tree: Make) -> None:
    # Permissions do not bind root, so a child process becomes nobody; pytest's own folders are closed to it.
    with tempfile.TemporaryDirectory() as open_to_all:
        Path(open_to_all).chmod(0o755)
        root = Path(shutil.copytree(make_tree("cat/1.jpg", "dog/2.jpg", "secret/3.jpg"), f"{open_to_all}/photos"))
        (root / "secret").chmod(0)
        script = f"""
import os
from mirada.errors import InputError
from mirada.messages import msg
from mirada.sources.base import detect
str(msg("what is loaded late must be loaded before we lose the right to"))
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
source = detect({str(root)!r})
print(len(list(source.photos())), *source.describe().notes)
try:
    detect({str(root / "secret")!r})
except InputError as error:
    print(error)
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        (root / "secret").chmod(0o755)
    assert done.returncode == 0, done.stderr
    counted, refused = done.stdout.splitlines()
    assert counted == "2 Folders that may not be opened are left out: secret."
    assert "Mirada may not read" in refused
    assert "Give yourself the right to read it" in refused


@pytest.mark.shared
def test_sports15(shared: Callable[[str], Path]) -> None:
    source = detect(shared("data/sports15"))
    info = source.describe()
    assert len(info.class_names) == 15
    assert info.splits == ("train", "val", "test")
    splits = [photo.split for photo in source.photos()]
    assert (splits.count("val"), splits.count("test")) == (75, 75)
    assert splits.count("train") == len(splits) - 150
