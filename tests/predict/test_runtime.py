"""The predictor: one answer for a photograph, whatever the batch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mirada.errors import DecodeError, UsageError
from mirada.imaging.decode import Limits
from mirada.predict.runtime import Predictor
from mirada.testing.models import COLOURS, colour_photo, tiny_bundle, tiny_inputs


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = tmp_path_factory.mktemp("bundle") / "m"
    tiny_bundle(path)
    return Predictor.open(path)


def test_the_batch_does_not_matter(predictor: Predictor) -> None:
    images = tiny_inputs(37)
    together = predictor.predict_inputs(images)
    assert together.shape == (37, 3)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)
    for n in (1, 2, 5, 16):
        parts = np.concatenate([predictor.predict_inputs(images[i : i + n]) for i in range(0, 37, n)])
        assert np.array_equal(parts, together)
    assert predictor.predict_inputs([]).shape == (0, 3)
    assert np.array_equal(predictor.predict_inputs(list(images)), together)


def test_photographs_by_path_and_bytes(predictor: Predictor, tmp_path: Path) -> None:
    for colour in COLOURS:
        (tmp_path / f"{colour} ñ.jpg").write_bytes(colour_photo(colour))
    paths = [tmp_path / f"{colour} ñ.jpg" for colour in COLOURS]
    answers = predictor.predict(paths)
    assert [answer.label for answer in answers] == list(COLOURS)
    assert [answer.uri for answer in answers] == [str(path) for path in paths]
    assert len({answer.id for answer in answers}) == 3
    by_bytes = predictor.predict_bytes([path.read_bytes() for path in paths])
    assert [answer.score for answer in by_bytes] == [answer.score for answer in answers]
    alone = predictor.predict(paths[2])
    assert (alone.label, alone.score) == ("red", answers[2].score)
    assert predictor.predict(str(paths[2])).top_k == answers[2].top_k
    assert not alone.rejected


def test_bad_photographs_are_answers_in_a_list(predictor: Predictor, tmp_path: Path) -> None:
    good = tmp_path / "good.jpg"
    good.write_bytes(colour_photo())
    (tmp_path / "cut.jpg").write_bytes(colour_photo(size=(400, 300))[:2000])
    (tmp_path / "text.jpg").write_text("no photograph")
    answers = predictor.predict([tmp_path / "cut.jpg", good, tmp_path / "text.jpg", tmp_path / "none.jpg"])
    assert [answer.error for answer in answers] == ["truncated", None, "not_an_image", "missing"]
    assert [answer.label for answer in answers] == [None, "red", None, None]
    assert answers[0].top_k == ()
    with pytest.raises(DecodeError) as caught:
        predictor.predict(tmp_path / "cut.jpg")
    assert caught.value.code == "truncated"


def test_top_k_and_rejection(predictor: Predictor) -> None:
    red, grey = colour_photo("red"), colour_photo("red", kind="PNG")
    assert len(predictor.predict_bytes([red], top_k=2)[0].top_k) == 2
    assert len(predictor.predict_bytes([red], top_k=50)[0].top_k) == 3
    answer = predictor.predict_bytes([grey])[0]
    assert sum(scored.score for scored in answer.top_k) == pytest.approx(1, abs=1e-5)
    assert answer.top_k == tuple(sorted(answer.top_k, key=lambda scored: -scored.score))
    probs = predictor.predict_inputs(np.full((1, 32, 32, 3), 128, np.uint8))
    assert probs[0] == pytest.approx([1 / 3] * 3, abs=1e-5)
    unsure = predictor.answers([predictor.load(("", _grey_png()))])[0]
    assert unsure.rejected
    assert unsure.label == "blue"  # of equals the first class
    with pytest.raises(UsageError, match="top_k"):
        predictor.predict_bytes([red], top_k=0)


def _grey_png() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()


def test_limits_are_kept(predictor: Predictor) -> None:
    small = Predictor.open(predictor.bundle.path, limits=Limits(max_pixels=100))
    assert small.predict_bytes([colour_photo()])[0].error == "too_many_pixels"


def test_stream_is_lazy(predictor: Predictor) -> None:
    drawn = 0

    def photos() -> object:
        nonlocal drawn
        for i in range(10_000):
            drawn += 1
            yield str(i), colour_photo(seed=i % 3)

    answers = predictor.stream(photos())  # type: ignore[arg-type]
    assert next(answers).label == "red"
    answers.close()  # type: ignore[attr-defined]
    assert drawn < 1000


def test_precision_follows_the_bundle(predictor: Predictor) -> None:
    assert predictor.bundle.precision == "f32"
    assert predictor.precision == "f32"
    with pytest.raises(UsageError, match="precision"):
        Predictor.open(predictor.bundle.path, "int3")


def test_loads_no_torch_and_no_workspace_folder(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(colour_photo())
    code = (
        "import sys; from mirada.predict.runtime import Predictor;"
        f"print(Predictor.open({predictor.bundle.path!r}).predict('a.jpg').label);"
        "print([m for m in ('torch','timm','mlflow','sklearn','onnx','sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["red", "[]"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg"]
