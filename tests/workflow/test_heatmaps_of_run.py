"""Heatmaps by the network that a run kept: for its report, and of any photograph."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.catalog.catalog import Catalog
from mirada.cli.main import run as mirada
from mirada.errors import UsageError
from mirada.testing import class_folders
from mirada.types import WorstSample
from mirada.workflow.heatmaps import Asked, draw, heatmaps_of_worst
from mirada.workflow.train import TrainRequest, train
from mirada.workspace import Workspace

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # torch warns about its own insides

RECIPE = """
summary = { en = "A small net for tests.", es = "Una red pequeña para pruebas." }
input_size = 32
[model]
name = "NAME"
[[stages]]
epochs = 1
batch_size = 32
"""


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIRADA_TRACK_ENABLED", "false")
    monkeypatch.setenv("MIRADA_CACHE", str(tmp_path / "cache"))
    class_folders(tmp_path / "photos", 3, 12, size=40)
    return tmp_path / "photos"


def test_pictures_of_a_run(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    workspace = Workspace.create(tmp_path / "w")
    (tmp_path / "cnn.toml").write_text(RECIPE.replace("NAME", "cifar10_cnn"), encoding="utf-8")
    made = train(workspace, TrainRequest(source=str(photos), recipe=str(tmp_path / "cnn.toml"), precision="f32"))
    with Catalog.open(workspace.catalog_url) as catalog:
        run = catalog.run(made.run_id)
        uris = [sample.uri for sample in catalog.samples()][:3]
    first, second = made.class_names[:2]
    worst = [WorstSample(f"s{i}", uri, first, second, 0.9) for i, uri in enumerate(uris)]
    worst.append(WorstSample("gone", (tmp_path / "gone.jpg").as_uri(), first, second, 0.9))
    pictures = heatmaps_of_worst(workspace, run, made.bundle, worst)
    assert sorted(pictures) == ["s0", "s1", "s2"]
    assert Image.open(io.BytesIO(pictures["s0"])).size == (32, 32)

    # Weights that cannot be read cost the pictures, not the report.
    weights = workspace.runs_path / made.run_id / "weights.safetensors"
    weights.write_bytes((sound := weights.read_bytes())[:100])
    assert heatmaps_of_worst(workspace, run, made.bundle, worst) == {}
    weights.write_bytes(sound)

    # Of any photographs, by the command line; of two of a name, both are kept.
    files = [str(next((photos / name).glob("*.jpg"))) for name in made.class_names]
    (photos / "bad.jpg").write_text("no photograph")
    argv = ["--workspace", str(tmp_path / "w"), "predict", *files, str(photos / "bad.jpg")]
    capsys.readouterr()
    assert mirada([*argv, "--heatmap", str(tmp_path / "maps"), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["error"] for answer in answers] == [None, None, None, "not_an_image"]
    drawn = sorted((tmp_path / "maps").iterdir())
    assert len(drawn) == 3
    assert all(np.asarray(Image.open(path)).shape == (32, 32, 3) for path in drawn)
    # Into the photographs' own folder: they stay as they are.
    (own := tmp_path / "own").mkdir()
    (own / "a.jpg").write_bytes(given := Path(files[0]).read_bytes())
    assert mirada([*argv[:3], str(own / "a.jpg"), "--heatmap", str(own), "--json"]) == 0
    assert (own / "a.jpg").read_bytes() == given
    assert (own / "a-2.jpg").is_file()
    assert mirada([*argv, "--heatmap", str(tmp_path / "maps"), "-o", str(tmp_path / "a.csv")]) == 2

    # A head on frozen embeddings has none, and says so.
    head = train(workspace, TrainRequest(source=str(photos)))
    with Catalog.open(workspace.catalog_url) as catalog:
        run = catalog.run(head.run_id)
    with pytest.raises(UsageError, match="was not trained as a network here"):
        draw(workspace, run, head.bundle, [Asked("a", uris[0], first)], side=224)
    assert heatmaps_of_worst(workspace, run, head.bundle, worst) == {}
