"""A photograph's embedding must not depend on its company."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from mirada.embed import vino
from mirada.embed.backbone import Backbone
from mirada.embed.network import HeadNetwork, Network, part_before, split_model
from mirada.errors import BackboneError, InputError, UsageError

Images = npt.NDArray[np.uint8]
PRECISIONS = ["f32", "auto"]


@pytest.fixture
def path(make_backbone: Callable[..., Backbone]) -> Path:
    return make_backbone().onnx_path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_same_answer_whatever_the_batch(path: Path, images: Images, precision: str) -> None:
    network = Network(path, precision=precision)
    together = network.run_batch(images)
    alone = np.concatenate([network.run_batch(images[i : i + 1]) for i in range(len(images))])
    backwards = network.run_batch(images[::-1])[::-1]
    streamed = np.stack(list(network.run(iter(images))))
    assert together.shape == (13, 24)
    assert together.dtype == np.float32
    assert together.std() > 0.01
    for other in (alone, backwards, streamed):
        np.testing.assert_array_equal(other, together)


def test_agrees_with_onnxruntime(path: Path, images: Images) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(["embedding"], {"images": images})[0]
    np.testing.assert_allclose(Network(path, precision="f32").run_batch(images), expected, atol=1e-5)


@pytest.mark.parametrize(("batch_size", "n_streams"), [(1, 1), (2, 2), (8, 1), (16, 3)])
def test_same_answer_whatever_the_compiled_shape(path: Path, images: Images, batch_size: int, n_streams: int) -> None:
    usual = Network(path, precision="f32").run_batch(images)
    other = Network(path, precision="f32", batch_size=batch_size, n_streams=n_streams).run_batch(images)
    np.testing.assert_allclose(other, usual, atol=1e-6)


def test_threads_share_one_network(path: Path, images: Images) -> None:
    network = Network(path, precision="f32")
    expected = network.run_batch(images)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: network.run_batch(images), range(60)))
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


def test_a_stream_inside_a_stream_does_not_wait_for_itself(path: Path, images: Images) -> None:
    network = Network(path, precision="f32")
    expected = network.run_batch(images)
    for outer, row in zip(network.run(iter(images)), expected, strict=True):
        np.testing.assert_array_equal(network.run_batch(images[:9]), expected[:9])
        np.testing.assert_array_equal(outer, row)


def test_stream_draws_little_ahead(path: Path, images: Images) -> None:
    network = Network(path, precision="f32", batch_size=2, n_streams=2)
    drawn = 0

    def source() -> Iterator[Images]:
        nonlocal drawn
        for number in range(1000):
            drawn += 1
            yield images[number % 13]

    stream = network.run(source())
    next(stream)
    assert drawn <= 2 * (2 + 2)
    stream.close()
    np.testing.assert_array_equal(network.run_batch(images[:3]), Network(path, precision="f32").run_batch(images[:3]))


def test_rows_of_a_stream_stay_as_they_are(path: Path, images: Images) -> None:
    network = Network(path, precision="f32", batch_size=1, n_streams=1)
    rows = []
    for number, row in enumerate(network.run(iter(images))):
        rows.append((row, row.copy()))
        if number > 5:
            network.run_batch(images[::-1])
    for row, copy in rows:
        np.testing.assert_array_equal(row, copy)


def test_an_error_in_the_source_leaves_the_network_usable(path: Path, images: Images) -> None:
    network = Network(path, precision="f32")

    def source() -> Iterator[Images]:
        yield from images
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(network.run(source()))
    assert np.isfinite(network.run_batch(images)).all()


def test_nothing_in_nothing_out(path: Path, images: Images) -> None:
    network = Network(path)
    assert network.run_batch(images[:0]).shape == (0, 24)
    assert list(network.run(iter(()))) == []


@pytest.mark.parametrize("bad", [np.zeros((2, 31, 32, 3), np.uint8), np.zeros((2, 32, 32, 3), np.float32)])
def test_wrong_input_is_told(path: Path, bad: npt.NDArray[np.generic]) -> None:
    network = Network(path)
    with pytest.raises(InputError, match=r"\(32, 32, 3\) of uint8"):
        network.run_batch(bad)
    with pytest.raises(InputError, match="uint8"):
        list(network.run(iter(bad)))


def test_head_and_backbone_make_the_whole(path: Path, images: Images) -> None:
    whole = Network(path, precision="f32", output="probabilities").run_batch(images)
    head = HeadNetwork(path)
    embedding = Network(path, precision="f32").run_batch(images)
    np.testing.assert_allclose(head.run_batch(embedding), whole, atol=1e-6)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)
    alone = np.concatenate([head.run_batch(embedding[i : i + 1]) for i in range(len(embedding))])
    np.testing.assert_array_equal(alone, head.run_batch(embedding))
    assert head.precision == "f32"


def test_split_leaves_the_model_as_it_was(path: Path, images: Images) -> None:
    model = vino.read_model(path)
    for _ in range(2):
        backbone, head = split_model(model, "embedding", output="probabilities")
        assert [port.any_name for port in backbone.outputs] == ["embedding"]
        assert [port.any_name for port in head.inputs] == ["embedding"]
    assert len(model.outputs) == 2
    np.testing.assert_array_equal(
        Network(model, precision="f32").run_batch(images), Network(path.read_bytes(), precision="f32").run_batch(images)
    )


def test_unknown_tensor(path: Path) -> None:
    with pytest.raises(BackboneError, match='no tensor "nonsense"'):
        Network(path, output="nonsense")
    with pytest.raises(BackboneError, match="Nothing stands behind"):
        HeadNetwork(path, start="probabilities")
    assert part_before(vino.read_model(path), None).outputs[0].any_name == "embedding"


def test_values_that_are_not_numbers_are_refused(path: Path, images: Images) -> None:
    model = onnx.load(path)
    for weight in model.graph.initializer:
        if weight.name == "b3":
            weight.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float32), "b3"))
    network = Network(model.SerializeToString(), precision="f32", output="logits")
    with pytest.raises(BackboneError, match="not numbers"):
        network.run_batch(images)


def test_precision_names() -> None:
    assert vino.resolve_precision("f32") == "f32"
    assert vino.resolve_precision("auto") == ("bf16" if vino.has_bf16() else "f32")
    with pytest.raises(UsageError, match="auto, bf16 or f32; got int4"):
        vino.resolve_precision("int4")


def test_without_amx_and_bf16(path: Path, images: Images, tmp_path: Path) -> None:
    """Another process, with the processor's bf16 switched off: auto is f32, and answers agree with ours."""
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom mirada.embed.network import Network\n"
        "from mirada.embed import vino\nfrom mirada.errors import UsageError\n"
        "folder = Path(sys.argv[1])\nnetwork = Network(Path(sys.argv[2]))\nassert network.precision == 'f32'\n"
        "try:\n    vino.resolve_precision('bf16')\nexcept UsageError as error:\n    print(error)\n"
        "np.save(folder / 'out.npy', network.run_batch(np.load(folder / 'images.npy')))\n"
    )
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(path)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "does not compute in bf16" in done.stdout
    ours = Network(path, precision="f32").run_batch(images)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), ours, atol=1e-5)
    again = np.load(tmp_path / "out.npy")
    if vino.has_bf16():
        bf16 = Network(path, precision="bf16").run_batch(images)
        cosine = (bf16 * again).sum(1) / np.linalg.norm(bf16, axis=1) / np.linalg.norm(again, axis=1)
        assert cosine.min() > 0.999


def test_another_process_gives_the_same_bits(path: Path, images: Images, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom mirada.embed.network import Network\n"
        "folder = Path(sys.argv[1])\nrows = Network(Path(sys.argv[2])).run(iter(np.load(folder / 'images.npy')))\n"
        "np.save(folder / 'out.npy', np.stack(list(rows)))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), Network(path).run_batch(images))
