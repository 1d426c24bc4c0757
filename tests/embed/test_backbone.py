"""Backbones by file: what is accepted, what is refused and with which words."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from onnx import TensorProto

from mirada.embed import backbone as module
from mirada.embed.backbone import (
    Backbone,
    BackboneStore,
    backbone_filename,
    backbone_metadata,
    default_backbone,
    default_cache_dir,
    file_sha256,
    load_backbone,
)
from mirada.errors import BackboneError, UsageError
from mirada.types import PreprocessSpec


def test_one_file_says_everything(make_backbone: Callable[..., Backbone], spec: PreprocessSpec) -> None:
    backbone = make_backbone("tiny")
    assert backbone == Backbone("tiny", backbone.onnx_path, file_sha256(backbone.onnx_path), 24, spec, "CC0-1.0", 0)


def test_metadata_may_stand_in_the_json_beside(
    tmp_path: Path, tiny_bytes: Callable[..., bytes], spec: PreprocessSpec
) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(tiny_bytes())
    about = {"name": "small", "licence": "Apache-2.0", "sha256": file_sha256(path), "preprocess": asdict(spec)}
    path.with_suffix(".json").write_text(json.dumps(about))
    backbone = load_backbone(path)
    assert (backbone.name, backbone.licence, backbone.preprocess) == ("small", "Apache-2.0", spec)


def test_another_hash_is_refused(make_backbone: Callable[..., Backbone]) -> None:
    path = make_backbone("tiny").onnx_path
    path.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(BackboneError, match="is damaged: its SHA-256 is"):
        load_backbone(path)


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_a_cut_file_is_refused(make_backbone: Callable[..., Backbone], keep: int) -> None:
    path = make_backbone("tiny").onnx_path
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BackboneError, match="not a sound ONNX model"):
        load_backbone(path)


def test_text_under_the_name_of_a_model(tmp_path: Path) -> None:
    path = tmp_path / "note.onnx"
    path.write_text("this is a shopping list")
    with pytest.raises(BackboneError, match="not a sound ONNX model"):
        load_backbone(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"There is no model file .*gone\.onnx"):
        load_backbone(tmp_path / "gone.onnx")


def test_no_word_on_preprocessing(tmp_path: Path, tiny_bytes: Callable[..., bytes]) -> None:
    path = tmp_path / "mute.onnx"
    path.write_bytes(tiny_bytes())
    with pytest.raises(BackboneError, match="does not say how photographs are prepared"):
        load_backbone(path)


@pytest.mark.parametrize("text", ["[]", "{", '{"input_size": 32, "colour": 1}', '{"resize": 32}', "null"])
def test_preprocessing_that_is_none(tmp_path: Path, tiny_bytes: Callable[..., bytes], text: str) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(tiny_bytes(metadata={"mirada.preprocess": text}))
    with pytest.raises(BackboneError, match="does not say how photographs are prepared"):
        load_backbone(path)


def test_another_size_than_the_network_takes(tmp_path: Path, tiny_bytes: Callable[..., bytes]) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(tiny_bytes(metadata=backbone_metadata("odd", "", PreprocessSpec(input_size=64), 24)))
    with pytest.raises(BackboneError, match="takes photographs of 32 px, but its preprocessing says 64 px"):
        load_backbone(path)


def test_another_input_than_photographs(tmp_path: Path, tiny_bytes: Callable[..., bytes], spec: PreprocessSpec) -> None:
    path = tmp_path / "float.onnx"
    path.write_bytes(tiny_bytes(input_type=TensorProto.INT32, metadata=backbone_metadata("float", "", spec, 24)))
    with pytest.raises(BackboneError, match=r"this model takes i32"):
        load_backbone(path)


def test_shipped_backbone_or_a_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if module.SHIPPED_PATH.is_file():
        assert default_backbone().name == module.SHIPPED_NAME
    monkeypatch.setattr(module, "SHIPPED_PATH", tmp_path / "none.onnx")
    with pytest.raises(BackboneError, match=r"ships no backbone.*--backbone"):
        default_backbone()


def test_store_converts_once(tmp_path: Path, tiny_bytes: Callable[..., bytes], spec: PreprocessSpec) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    store = BackboneStore(tmp_path / "store")
    calls: list[str] = []

    def convert(name: str, given: Path | None, folder: Path) -> Backbone:
        calls.append(name)
        path = folder / backbone_filename(name, given)
        path.write_bytes(tiny_bytes(metadata=backbone_metadata(name, "", spec, 24)))
        return load_backbone(path)

    assert store.cached("tiny", weights) is None
    found: list[Backbone] = []
    threads = [
        threading.Thread(target=lambda: found.append(store.resolve("tiny", weights, convert=convert))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == ["tiny"]
    assert len(set(found)) == 1
    assert store.resolve("tiny", weights) == found[0]
    assert "tiny" in store.names()
    weights.write_bytes(b"other weights")
    assert store.cached("tiny", weights) is None
    store.resolve("tiny", weights, convert=convert)
    assert calls == ["tiny", "tiny"]
    # A damaged conversion is made again.
    (store.path / backbone_filename("tiny", weights)).write_bytes(b"torn")
    store.resolve("tiny", weights, convert=convert)
    assert calls == ["tiny", "tiny", "tiny"]


def test_store_takes_a_path(make_backbone: Callable[..., Backbone], tmp_path: Path) -> None:
    backbone = make_backbone("tiny")
    store = BackboneStore(tmp_path / "store")
    assert store.resolve(str(backbone.onnx_path)) == backbone
    with pytest.raises(UsageError, match="--weights goes with the name of a timm model"):
        store.resolve(str(backbone.onnx_path), backbone.onnx_path)


def test_unknown_names_get_the_nearest(tmp_path: Path) -> None:
    store = BackboneStore(tmp_path)
    known = ["mobilenetv2_100", "mobilenetv2_050", "resnet18"]
    with pytest.raises(BackboneError, match=r"no backbone called MobileNetV2_100\. Did you mean mobilenetv2_100"):
        store.resolve("MobileNetV2_100", known=lambda: known)
    with pytest.raises(BackboneError, match=r"no backbone called resnet_18\. Did you mean resnet18"):
        store.resolve("resnet_18", known=lambda: known)
    with pytest.raises(BackboneError, match=r"no backbone called zzzz\. .*list_models"):
        store.resolve("zzzz", known=lambda: known)
    with pytest.raises(BackboneError, match=r"resnet18 has not been converted yet\. .*mirada\[train\]"):
        store.resolve("resnet18", known=lambda: known)


def test_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"There is no weights file .*gone\.safetensors"):
        BackboneStore(tmp_path).resolve("resnet18", tmp_path / "gone.safetensors")


def test_where_conversions_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIRADA_CACHE", str(tmp_path / "here"))
    assert default_cache_dir() == tmp_path / "here"
    assert BackboneStore().path == tmp_path / "here" / "backbones"
    monkeypatch.delenv("MIRADA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_cache_dir() == tmp_path / "xdg" / "mirada"


def test_first_embedding_within_a_second_of_cpu(make_backbone: Callable[..., Backbone]) -> None:
    """Wall time is noisy under load; processor time of a fresh process is not."""
    code = (
        "import sys, time\nfrom pathlib import Path\nimport numpy as np\n"
        "from mirada.embed.backbone import load_backbone\nfrom mirada.embed.network import Network\n"
        "backbone = load_backbone(Path(sys.argv[1]))\n"
        "Network(backbone.onnx_path).run_batch(np.zeros((1, 32, 32, 3), np.uint8))\nprint(time.process_time())\n"
    )
    path = make_backbone("tiny").onnx_path
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert float(out) < 1.0
