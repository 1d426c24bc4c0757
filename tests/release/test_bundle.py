"""Bundles: written whole or not at all, equal to training, honest about themselves."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mirada.embed.network import Network
from mirada.errors import BundleError, Conflict, NotFound, UsageError
from mirada.predict.manifest import load_manifest, read_manifest
from mirada.predict.runtime import Predictor
from mirada.release.bundle import BundleFacts, ParityCheck, append_head, write_bundle
from mirada.testing.models import COLOURS, TinyHead, tiny_backbone, tiny_bundle, tiny_inputs

FACTS = BundleFacts(
    name="colours",
    version=1,
    class_names=tuple(COLOURS),
    precision="f32",
    metrics={},
    run_id="run-1",
    dataset_id="dataset-1",
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def parity_of(backbone_path: Path, head: TinyHead, n: int = 70) -> ParityCheck:
    images = tiny_inputs(n)
    return ParityCheck(images, head.probs(Network(backbone_path, precision="f32").run_batch(images)))


def test_bundle_equals_training(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "m")
    assert bundle.parity["max_abs_diff"] <= 1e-5
    assert bundle.parity["same_top_label"] == 1.0
    assert names(tmp_path / "m") == ["README.md", "manifest.json", "model.onnx"]
    assert bundle.onnx_sha256 == hashlib.sha256((tmp_path / "m" / "model.onnx").read_bytes()).hexdigest()
    assert load_manifest(tmp_path / "m") == bundle


def test_onnxruntime_gives_the_same(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    tiny_bundle(tmp_path / "m")
    images = tiny_inputs(9, seed=3)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(tmp_path / "m" / "model.onnx"), options, ["CPUExecutionProvider"])
    probs, embedding = session.run(["probabilities", "embedding"], {"images": images})
    ours = Predictor.open(tmp_path / "m", "f32").predict_inputs(images)
    np.testing.assert_allclose(probs, ours, atol=1e-5)
    assert embedding.shape == (9, 48)


def test_mlp_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    head = TinyHead(temperature=0.7)
    W1, W2 = rng.normal(size=(48, 16)).astype("f4"), rng.normal(size=(16, 3)).astype("f4")
    b1, b2 = rng.normal(size=16).astype("f4"), rng.normal(size=3).astype("f4")
    object.__setattr__(head, "layers", ((W1, b1), (W2, b2)))
    backbone = tiny_backbone(tmp_path)
    images = tiny_inputs(20)
    embeddings = Network(backbone.onnx_path, precision="f32").run_batch(images)
    logits = (np.maximum(embeddings @ W1 + b1, 0) @ W2 + b2) / 0.7
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    bundle = write_bundle(
        tmp_path / "m", backbone=backbone, head=head, facts=FACTS, parity=ParityCheck(images, probs.astype("f4"))
    )
    assert bundle.parity["max_abs_diff"] < 1e-5
    with pytest.raises(UsageError, match="softplus"):
        append_head(backbone.onnx_path, _with_activation(head, "softplus"))


def _with_activation(head: TinyHead, name: str) -> TinyHead:
    other = TinyHead(activation=name)
    object.__setattr__(other, "layers", head.layers)
    return other


@pytest.mark.parametrize("change", ["scores", "labels", "nan"])
def test_a_bundle_that_disagrees_is_not_written(tmp_path: Path, change: str) -> None:
    backbone, head = tiny_backbone(tmp_path), TinyHead()
    parity = parity_of(backbone.onnx_path, head)
    wrong = parity.probs.copy()
    if change == "scores":
        wrong[69] += np.array([0.002, -0.002, 0], np.float32)
    elif change == "labels":
        wrong[3] = wrong[3][::-1]
    else:
        wrong[3] = np.nan
    before = names(tmp_path)
    with pytest.raises(BundleError, match="disagrees"):
        write_bundle(tmp_path / "m", backbone=backbone, head=head, facts=FACTS, parity=replace(parity, probs=wrong))
    assert names(tmp_path) == before


def test_never_overwrites(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "m")
    with pytest.raises(Conflict):
        tiny_bundle(tmp_path / "m")
    assert load_manifest(tmp_path / "m").version == 1


def test_parity_needs_photographs(tmp_path: Path) -> None:
    backbone = tiny_backbone(tmp_path)
    for images, probs in [([], np.zeros((0, 3))), (tiny_inputs(2), np.zeros((3, 3)))]:
        with pytest.raises((UsageError, BundleError)):
            write_bundle(
                tmp_path / "m",
                backbone=backbone,
                head=TinyHead(),
                facts=FACTS,
                parity=ParityCheck(images, probs.astype("f4")),
            )
    assert not (tmp_path / "m").exists()


def test_reference_arrays(tmp_path: Path) -> None:
    backbone, head = tiny_backbone(tmp_path), TinyHead()
    parity = parity_of(backbone.onnx_path, head)
    facts = replace(FACTS, reference={"mean": np.arange(3, dtype=np.float32)}, reference_stats={"distance_95": 1.5})
    bundle = write_bundle(tmp_path / "m", backbone=backbone, head=head, facts=facts, parity=parity)
    assert bundle.reference_stats == {"distance_95": 1.5}
    with np.load(tmp_path / "m" / "reference.npz", allow_pickle=False) as arrays:
        assert arrays["mean"].tolist() == [0, 1, 2]
    (tmp_path / "m" / "reference.npz").write_bytes(b"other")
    with pytest.raises(BundleError, match="SHA-256"):
        load_manifest(tmp_path / "m")
    objects = replace(FACTS, reference={"bad": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(UsageError, match="floats"):
        write_bundle(tmp_path / "n", backbone=backbone, head=head, facts=objects, parity=parity)


def test_model_card(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    front = card.split("---\n")[1]
    yaml = pytest.importorskip("yaml")
    head = yaml.safe_load(front)
    assert head["license"] == "apache-2.0"
    assert head["pipeline_tag"] == "image-classification"
    assert head["metrics"] == ["accuracy"]
    assert "| accuracy | 0.9000 | 0.8000 | 0.9500 | 100 |" in card
    assert read_manifest(tmp_path / "m").created_at.startswith("20")


def test_odd_class_names_and_licence_in_the_card(tmp_path: Path) -> None:
    odd = ("a|b\nc", "<script>x</script>", "# título ☕")
    backbone, head = replace(tiny_backbone(tmp_path), licence='none: "stated"'), TinyHead()
    parity = parity_of(backbone.onnx_path, head)
    bundle = write_bundle(
        tmp_path / "m", backbone=backbone, head=head, facts=replace(FACTS, class_names=odd), parity=parity
    )
    assert bundle.class_names == odd
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "- a\\|b c\n" in card
    assert "<script>" not in card
    front = pytest.importorskip("yaml").safe_load(card.split("---\n")[1])
    assert front["license"] == "other"
    assert front["license_name"] == 'none: "stated"'


def test_damaged_bundles_are_refused(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "m")
    manifest_path = tmp_path / "m" / "manifest.json"
    good = manifest_path.read_text()

    def refused(text: str, match: str) -> None:
        manifest_path.write_text(text)
        with pytest.raises(BundleError, match=match):
            Predictor.open(tmp_path / "m")
        manifest_path.write_text(good)

    refused("{", "not JSON")
    refused("[]", "damaged")
    refused(json.dumps(json.loads(good) | {"format_version": 2}), "format 2")
    refused(json.dumps(json.loads(good) | {"onnx_sha256": "0" * 64}), "SHA-256")
    refused(json.dumps(json.loads(good) | {"class_names": ["a", "b"]}), "differ in the classes")
    refused(json.dumps(json.loads(good) | {"class_names": ["a", "a", "b"]}), "twice")
    refused(json.dumps(json.loads(good) | {"temperature": 0}), "temperature")
    refused(json.dumps({key: value for key, value in json.loads(good).items() if key != "parity"}), "parity")
    (tmp_path / "m" / "model.onnx").unlink()
    refused(good, "missing")
    with pytest.raises(NotFound, match=r"manifest\.json"):
        Predictor.open(tmp_path)


_KILLED = """
import os, signal, sys
from pathlib import Path
import mirada.release.bundle as bundle
from mirada.testing.models import tiny_bundle
step = sys.argv[2]
real = getattr(bundle, step)
def stop(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(bundle, step, stop)
tiny_bundle(Path(sys.argv[1]))
"""


@pytest.mark.parametrize(
    "step", [*(pytest.param(name, marks=pytest.mark.long) for name in ("measure_parity", "model_card")), "_flush"]
)
def test_a_kill_leaves_no_half_bundle(tmp_path: Path, step: str) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "m"), step], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "m").exists()
    assert tiny_bundle(tmp_path / "m").name == "colours"
