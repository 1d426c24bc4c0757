"""Batches: any inputs to one file, which a kill can only delay."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from mirada.engine.base import Silent
from mirada.errors import Conflict, InputError, NotFound, StorageError, UsageError
from mirada.messages import Message
from mirada.predict.batch import predict_rows, predict_to_file
from mirada.predict.inputs import expand, looks_like_a_photo
from mirada.predict.journal import Journal
from mirada.predict.runtime import Predictor
from mirada.testing.models import COLOURS, TinyHead, colour_photo, tiny_bundle


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: Message) -> None:
        self.notes.append(str(message))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = tmp_path_factory.mktemp("bundle") / "m"
    tiny_bundle(path)
    return Predictor.open(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for i, colour in enumerate([*COLOURS, *COLOURS]):
        (folder / colour).mkdir(parents=True, exist_ok=True)
        (folder / colour / f"{i}.jpg").write_bytes(colour_photo(colour, seed=i))
    (folder / "text.jpg").write_text("no photograph")
    (folder / "notes.txt").write_text("left out")
    return folder


def read_jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_folder_to_jsonl(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    notes = Notes()
    report = predict_to_file([str(photos)], tmp_path / "out.jsonl", predictor, progress=notes)
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert len(rows) == report.n == 7
    assert report.errors == {"not_an_image": 1}
    assert report.labels == {"blue": 2, "green": 2, "red": 2}
    assert rows[0]["uri"] == str(photos / "text.jpg")
    assert rows[0] == {
        "uri": str(photos / "text.jpg"),
        "label": None,
        "score": None,
        "top_k": [],
        "rejected": False,
        "error": "not_an_image",
    }
    for row in rows[1:]:
        assert row["label"] == Path(str(row["uri"])).parent.name
        assert list(row) == ["uri", "label", "score", "top_k", "rejected", "error"]
        assert isinstance(row["top_k"], list)
        assert row["top_k"][0] == {"label": row["label"], "score": row["score"]}
    assert any("notes.txt" in note or ".txt" in note for note in notes.notes)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "photos"]


def test_the_three_formats_agree(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    for kind in ("csv", "jsonl", "parquet"):
        predict_to_file([str(photos)], tmp_path / f"out.{kind}", predictor, top_k=2)
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist() == rows
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert list(table[0]) == [
        "uri", "label", "score", "rejected", "error", "label_1", "score_1", "label_2", "score_2",
    ]  # fmt: skip
    for flat, row in zip(table, rows, strict=True):
        assert flat["uri"] == row["uri"]
        assert flat["label"] == (row["label"] or "")
        assert flat["score"] == ("" if row["score"] is None else str(row["score"]))
        assert flat["error"] == (row["error"] or "")
        top_k = row["top_k"]
        assert isinstance(top_k, list)
        assert [flat["label_1"], flat["label_2"]] == ([s["label"] for s in top_k] or ["", ""])


def test_odd_names(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["=cmd|calc.jpg", "-x.jpg", "@a.jpg", 'a "b", c.jpg', "línea\n2 ☕.jpg", "<b>.jpg", "100%.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(colour_photo())
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    with open(b"caf\xe9.jpg", "wb") as handle:  # noqa: PTH123 - a name that is not UTF-8
        handle.write(colour_photo())
    listed = [*names, os.fsdecode(b"caf\xe9.jpg")]
    for kind in ("csv", "jsonl", "parquet"):
        report = predict_to_file(listed, Path(f"out/a.{kind}"), predictor)
        assert report.errors == {}
    uris = [row["uri"] for row in read_jsonl(tmp_path / "out/a.jsonl")]
    assert uris[:-1] == names
    assert str(uris[-1]).endswith("/caf%E9.jpg")
    with (tmp_path / "out/a.csv").open(encoding="utf-8", newline="") as handle:
        cells = [row["uri"] for row in csv.DictReader(handle)]
    assert cells[:3] == ["./=cmd|calc.jpg", "./-x.jpg", "./@a.jpg"]
    assert cells[3:7] == names[3:]
    assert all(Path(cell).exists() for cell in cells[:-1])
    # A list of these rows, piped back in, finds the same files.
    back = io.BufferedReader(io.BytesIO("\0".join(map(str, uris)).encode()))
    assert [row["error"] for row in predict_rows(["-"], predictor, stdin=back)] == [None] * len(uris)


def test_patterns_and_files(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    rows = list(predict_rows([f"{photos}/**/[0-2].jpg", str(photos / "text.jpg")], predictor))
    assert [row["label"] for row in rows] == ["blue", "green", "red", None]
    odd = tmp_path / "a[1].jpg"
    odd.write_bytes(colour_photo())
    assert [row["label"] for row in predict_rows([str(odd)], predictor)] == ["red"]


def test_stdin(predictor: Predictor, photos: Path) -> None:
    def rows(data: bytes) -> list[dict[str, object]]:
        return list(predict_rows(["-"], predictor, stdin=io.BufferedReader(io.BytesIO(data))))

    assert [(row["uri"], row["label"]) for row in rows(colour_photo("blue"))] == [("-", "blue")]
    listed = f"{photos}/red/2.jpg\r\n\n{photos}/none.jpg\n".encode()
    assert [(row["label"], row["error"]) for row in rows(listed)] == [("red", None), (None, "missing")]
    assert [row["label"] for row in rows(f"{photos}/red/2.jpg\0{photos}/blue/0.jpg\0".encode())] == ["red", "blue"]
    with pytest.raises(InputError, match="empty"):
        rows(b"")
    assert looks_like_a_photo(colour_photo(kind="BMP"))
    assert not looks_like_a_photo(b"BMW.jpg\nmore.jpg\n")


def test_wrong_inputs(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for inputs, error in [
        ([], UsageError),
        ([str(tmp_path / "none")], NotFound),
        ([str(tmp_path / "*.jpg")], NotFound),
        ([str(tmp_path / "empty")], InputError),
        (["-", "more"], UsageError),
    ]:
        with pytest.raises(error):
            expand(inputs, stdin=io.BufferedReader(io.BytesIO(b"x")))
    (tmp_path / "a.jpg").write_bytes(colour_photo())
    for out, wrong in [("out.xls", UsageError), ("none/out.csv", NotFound), ("empty.csv", UsageError)]:
        (tmp_path / "empty.csv").mkdir(exist_ok=True)
        with pytest.raises(wrong):
            predict_to_file([str(tmp_path / "a.jpg")], tmp_path / out, predictor)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(colour_photo())
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError):
        predict_to_file([str(tmp_path / "a.jpg")], tmp_path / "locked" / "out.csv", predictor)


def interrupted(predictor: Predictor, photos: Path, out: Path, n_lines: int, torn: str = "") -> None:
    """Leave the journal of a run that was killed after `n_lines` photographs."""
    from mirada.predict import batch

    real = batch.write_rows
    try:
        batch.write_rows = _stop
        with pytest.raises(KeyboardInterrupt):
            predict_to_file([str(photos)], out, predictor)
    finally:
        batch.write_rows = real
    journal = out.with_name(f".{out.name}.partial.jsonl")
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: 1 + n_lines]) + torn)


def _stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("torn", ["", '{"row": {"uri": "/ph', '{"row": 3}\n', "\n", "\0\0\0"])
def test_goes_on_where_it_was(predictor: Predictor, photos: Path, tmp_path: Path, torn: str) -> None:
    predict_to_file([str(photos)], tmp_path / "whole.jsonl", predictor)
    interrupted(predictor, photos, tmp_path / "out.jsonl", 3, torn)
    notes = Notes()
    report = predict_to_file([str(photos)], tmp_path / "out.jsonl", predictor, progress=notes)
    assert report.n_resumed == 3
    assert "3 photographs were classified before" in notes.notes[-1]
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_changed_photographs_are_done_again(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    interrupted(predictor, photos, out, 5)
    (photos / "blue" / "0.jpg").write_bytes(colour_photo("red"))
    (photos / "blue" / "00.jpg").write_bytes(colour_photo("green"))
    report = predict_to_file([str(photos)], out, predictor)
    assert report.n_resumed == 1
    assert [row["label"] for row in read_jsonl(out)] == [
        None, "red", "green", "blue", "green", "green", "red", "red",
    ]  # fmt: skip


def test_another_model_starts_afresh(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    interrupted(predictor, photos, out, 5)
    tiny_bundle(tmp_path / "other", head=TinyHead(reject_threshold=0.999))
    notes = Notes()
    report = predict_to_file([str(photos)], out, Predictor.open(tmp_path / "other"), progress=notes)
    assert report.n_resumed == 0
    assert report.n_rejected == 6
    assert "starting afresh" in notes.notes[-1]


def test_two_runs_at_once(predictor: Predictor, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with Journal.open(out, {"a": 1}), pytest.raises(Conflict, match="Another process"):
        predict_to_file([str(photos)], out, predictor)
    assert predict_to_file([str(photos)], out, predictor).n == 7


_RUN = """
import sys
from pathlib import Path
from mirada.predict.batch import predict_to_file
from mirada.predict.runtime import Predictor
predict_to_file([sys.argv[2]], Path(sys.argv[3]), Predictor.open(sys.argv[1]))
"""


def test_killed_at_random_moments(predictor: Predictor, tmp_path: Path, long_run: bool) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(600):
        colour = random.Random(i).choice(list(COLOURS))
        (photos / f"{i:04}.jpg").write_bytes(colour_photo(colour, seed=i, size=(400, 300)))
    predict_to_file([str(photos)], tmp_path / "whole.csv", predictor)
    out, rng = tmp_path / "out.csv", random.Random(7)
    journal = out.with_name(".out.csv.partial.jsonl")
    command = [sys.executable, "-c", _RUN, predictor.bundle.path, str(photos), str(out)]
    n_killed = 0
    for _ in range(20 if long_run else 3):
        size = journal.stat().st_size if journal.exists() else 0
        process = subprocess.Popen(command)
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > size):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        n_killed += process.wait() == -signal.SIGKILL and journal.exists()
        assert process.returncode in (-signal.SIGKILL, 0)
    assert n_killed > 0
    subprocess.run(command, check=True)
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "photos", "whole.csv"]
