"""A pretrained network's own classes on photographs, without training."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mirada.cli.main import run
from mirada.embed.backbone import Backbone, backbone_metadata, load_backbone
from mirada.errors import UsageError
from mirada.predict.batch import predict_to_file
from mirada.testing.models import SIDE, colour_photo, tiny_backbone
from mirada.types import PreprocessSpec
from mirada.workflow.zero_shot import OwnClasses

# Chosen by eye among the development photographs, which hold no banana and no lemon by itself.
PHOTOGRAPHS = {
    "eyjB9uo5dboAlYdsVLFepP": "hotdog",
    "xWvz2fwcerJJI0zjkcMBcP": "guacamole",
    "PIuDwjWx8wANXtuguzoiLS": "burrito",
    "t7Yj1Vetcoph1C459isfl5": "gas pump",
    "N0kNez1h7YTezJx7-MBMaA": "church",
    "VHS_OWv5_rY-rDuJa5fiBM": "parachute",
    "xP5_Tg3TtaaRNadzlqHOV8": "tench",
}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIRADA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def classifier(folder: Path, names: tuple[str, ...] | None) -> Backbone:
    """A backbone with a classifier: class i is the brightness of the i-th of 48 cells and colours."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(tiny_backbone(folder).onnx_path))
    model.graph.node.append(helper.make_node("Identity", ["embedding"], ["logits"]))
    model.graph.output.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 48]))
    spec = PreprocessSpec(input_size=SIDE, resize=SIDE, interpolation="bilinear")
    helper.set_model_props(model, backbone_metadata("cells", "mit", spec, 48, class_names=names or ()))
    path = folder / "cells.onnx"
    onnx.save(model, str(path))
    return load_backbone(path)


@pytest.mark.train
@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")  # torch and timm warn about their own insides
@pytest.mark.parametrize("name", ["mobilenetv2_100", pytest.param("deit_tiny_patch16_224", marks=pytest.mark.long)])
def test_photographs_get_the_names_that_imagenet_gives(
    name: str, shared: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    weights, folder = shared(f"weights/{name}.safetensors"), shared("data/restaurant_dirty/photos")
    photos = [str(folder / f"{photo}.jpg") for photo in PHOTOGRAPHS]
    asked = ["predict", *photos, "--backbone", name, "--weights", str(weights), "--imagenet", "--precision", "f32"]
    assert run([*asked, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["label"].split(",")[0] for row in rows] == list(PHOTOGRAPHS.values())
    assert all(len(row["top_k"]) == 3 and not row["rejected"] for row in rows)

    # The second time, no torch is needed, and a file has the rows.
    assert run([*asked, "-o", "answers.csv", "--top-k", "2"]) == 0
    written = list(csv.DictReader(Path("answers.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["label"] for row in written] == [row["label"] for row in rows]
    assert "label_2" in written[0]
    assert "label_3" not in written[0]

    # In index order: the names of the development data's list begin alike.
    listed = [line.split(",")[0].lower() for line in shared("weights/imagenet_labels.txt").read_text().splitlines()]
    made = next((tmp_path / "cache" / "backbones").glob("*.onnx"))
    ours = load_backbone(made).class_names
    alike = [a == b.split(",")[0].split(":")[0].lower() for a, b in zip(listed, ours, strict=True)]
    assert sum(alike) > 950
    assert len(set(ours)) == 1000  # a crane lifts, or flies


def test_the_answers_are_the_softmax_of_the_logits(tmp_path: Path) -> None:
    names = tuple(f"n{i}" for i in range(48))
    predictor = OwnClasses(classifier(tmp_path, names), "f32")
    images = np.random.default_rng(0).integers(0, 256, (70, SIDE, SIDE, 3), dtype=np.uint8)
    probs = predictor.predict_inputs(images)
    cells = images.reshape(70, 4, 8, 4, 8, 3).mean(axis=(2, 4)) / 255
    logits = cells.transpose(0, 3, 1, 2).reshape(70, 48)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probs, wanted, atol=1e-5)
    assert predictor.predict_inputs([]).shape == (0, 48)


def test_a_file_of_answers_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(5):
        (folder / f"{i}.jpg").write_bytes(colour_photo("red", seed=i))
    (folder / "5.jpg").write_text("no photograph")
    predictor = OwnClasses(classifier(tmp_path, tuple(f"n{i}" for i in range(48))))
    report = predict_to_file([str(folder)], tmp_path / "a.jsonl", predictor)
    assert (report.n, dict(report.errors), report.n_rejected) == (6, {"not_an_image": 1}, 0)
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    # Red is the first of the three planes: sixteen cells, one of which is the brightest.
    assert {row["label"] for row in rows if row["error"] is None} <= {f"n{i}" for i in range(16)}
    assert (
        run(["predict", str(folder), "--backbone", str(tmp_path / "cells.onnx"), "--imagenet", "-o", "a.parquet"]) == 0
    )
    assert Path("a.parquet").stat().st_size > 0


def test_networks_without_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="colours has no classes of its own"):
        OwnClasses(tiny_backbone(tmp_path))
    with pytest.raises(UsageError, match="cells has 48 classes without names"):
        OwnClasses(classifier(tmp_path, None))
    # As many names as classes, or none.
    assert classifier(tmp_path, ("a", "b")).class_names == ()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--imagenet"], "name it with --backbone"),
        (["--imagenet", "--backbone", "mirada-small", "--model", "champion"], "without --model"),
        (["--backbone", "mobilenetv2_100"], "--backbone goes with --imagenet"),
        (["--weights", "w.safetensors"], "--weights goes with --imagenet"),
        (["--imagenet", "--backbone", "mirada-small"], "has no classes of its own"),
    ],
)
def test_wrong_usage(argv: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(colour_photo())
    assert run(["predict", "a.jpg", *argv]) == 2
    assert told in capsys.readouterr().err
