"""``mirada distill``: writes a backbone that ``train --backbone FILE`` accepts; mistakes are sentences."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mirada.embed.backbone import load_backbone

Mirada = Callable[..., object]


@pytest.mark.train
def test_distil_then_train(mirada: Mirada, photos: Path, backbone_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    options = ["--teacher", backbone_file, "--student", "mirada-nano", "--views", "960", "--batch", "32"]
    judged = tmp_path / "judged"
    for folder in sorted(photos.glob("*/"))[:2]:
        shutil.copytree(folder, judged / folder.name)
    judge = ["--evaluate", judged, "--evaluate-every", "20"]
    called = mirada("distill", photos, "-o", out, *options, *judge, "--json")
    assert called.status == 0, called.err
    curve = [json.loads(line) for line in (tmp_path / "small.work" / "curve.jsonl").read_text().splitlines()]
    assert [mark["views"] for mark in curve] == [640, 960]
    assert all(0.0 <= mark["knn"] <= 1.0 and 0.5 <= mark["probe"] <= 1.0 for mark in curve)
    assert "linear probe" in called.err
    assert called.document["dim"] == load_backbone(out).dim == 64
    trained = mirada("train", photos, "--backbone", out, "--json")
    assert trained.status == 0, trained.err
    assert trained.document["test"]["accuracy"]["value"] >= 0.8
    again = mirada("distill", photos, "-o", out, *options, *judge, "--json")
    assert again.document["sha256"] == called.document["sha256"]


@pytest.mark.train
@pytest.mark.parametrize(
    ("options", "status", "word"),
    [
        (["--student", "mirada-giant"], 2, "mirada-giant"),
        (["--weights", "a.safetensors", "--weights", "b.safetensors"], 2, "weights"),
        (["--init", "nowhere.onnx"], 1, "nowhere.onnx"),
    ],
)
def test_mistakes_are_sentences(
    mirada: Mirada, photos: Path, backbone_file: Path, tmp_path: Path, options: list[str], status: int, word: str
) -> None:
    called = mirada("distill", photos, "-o", tmp_path / "x.onnx", "--teacher", backbone_file, "--views", "8", *options)
    assert called.status == status, called.err
    assert word in called.err
    assert "Traceback" not in called.err


def test_without_torch_the_extra_is_named(
    mirada: Mirada, photos: Path, backbone_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n == "torch" or n.startswith(("torch.", "mirada.training.distill"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    called = mirada("distill", photos, "-o", tmp_path / "x.onnx", "--teacher", backbone_file)
    assert called.status == 1
    assert "mirada[train]" in called.err
