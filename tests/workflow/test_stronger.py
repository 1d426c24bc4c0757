"""After training with the shipped backbone, one sentence says what a stronger one would take, where it is in reach."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mirada.embed.backbone import SHIPPED_NAME, Backbone
from mirada.testing.models import tiny_backbone
from mirada.workflow import stronger
from mirada.workflow.stronger import SUGGESTED, stronger_note


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    monkeypatch.setenv("MIRADA_CACHE", str(tmp_path / "cache"))
    return replace(tiny_backbone(tmp_path), name=SHIPPED_NAME)


def test_one_that_is_cached_here_is_timed(shipped: Backbone, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "backbones"
    folder.mkdir(parents=True)
    shutil.copyfile(shipped.onnx_path, folder / f"{SUGGESTED}-0123456789abcdef.onnx")
    (note,) = stronger_note(shipped, 1_000_000, 3.0, "f32")
    text = str(note)
    assert "is on this machine" in text
    assert "1000000 photographs" in text
    seconds = float(text.partition("about ")[2].partition(" s")[0])
    assert seconds > 0


def test_one_that_could_be_downloaded_is_estimated_and_never_fetched(
    shipped: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stronger, "_may_download", lambda env: True)
    (note,) = stronger_note(shipped, 500, 3.0, "f32")
    assert f"--backbone {SUGGESTED}, would download 14 MB once and take about 10 s for these 500" in str(note)


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "MIRADA_OFFLINE"])
def test_nothing_is_said_offline(shipped: Backbone, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    assert stronger_note(shipped, 500, 3.0, "f32") == ()


def test_nothing_is_said_of_another_backbone(shipped: Backbone) -> None:
    assert stronger_note(replace(shipped, name="deit_tiny_patch16_224"), 500, 3.0, "f32") == ()
