"""Distillation on a few small photographs: it learns, survives being killed, and its file is what was trained."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.embed.backbone import load_backbone
from mirada.embed.network import Network
from mirada.engine.base import Silent
from mirada.errors import BackboneError, InputError, UsageError
from mirada.messages import Message

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

from mirada.training.distill import DistillConfig, PhotoSet, distill, initial_weights  # noqa: E402
from mirada.training.distill_augment import normalised  # noqa: E402
from mirada.training.distill_data import ViewSpec, prepare_views  # noqa: E402
from mirada.training.distill_export import export_student  # noqa: E402
from mirada.training.distill_init import load_student_weights  # noqa: E402
from mirada.training.distill_loop import Distiller, batch_rows, distill_loss  # noqa: E402
from mirada.training.distill_teachers import BackboneTeacher  # noqa: E402
from mirada.training.students import STUDENTS, Block, build_student, count_macs, fused  # noqa: E402

pytestmark = pytest.mark.train

CONFIG = DistillConfig(
    student="mirada-nano", views=16 * 60, batch=16, warmup=5, sizes=((0.0, 48), (0.5, 64)), checkpoint_every=5
)
RUN = """
import os, signal, sys
from pathlib import Path
from mirada.training.distill import PhotoSet, distill
from tests_config import CONFIG
photos, teacher, out, kill_at = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
def watch(run):
    if run.step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
distill(CONFIG, [PhotoSet(photos, n_views=3)], [(str(teacher), None)], out, after_step=watch)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of coloured bars and discs, and one file that is no picture."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[0:90, 0:120]
    for i in range(40):
        ground, figure = rng.integers(0, 256, (2, 3))
        disc = (rows - rng.integers(20, 70)) ** 2 + (columns - rng.integers(20, 100)) ** 2 < 400
        shape = disc if i % 2 else (rows + columns * rng.integers(-2, 3)) % 30 < 12
        pixels = np.where(shape[..., None], figure, ground).astype(np.uint8)
        (folder / f"set{i % 3}").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"set{i % 3}" / f"{i:02}.jpg", quality=92)
    (folder / "broken.jpg").write_bytes(b"no photograph")
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone with random weights: even that sees more in a picture than nothing."""
    network = build_student(STUDENTS["mirada-nano"], seed=7)
    with torch.no_grad():
        for _ in range(5):
            network(torch.randn(16, 3, 64, 64))
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    export_student(network, path, licence="a test's own", about={})
    return path


@pytest.fixture(scope="module")
def trained(photos: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Distiller]:
    out = tmp_path_factory.mktemp("student") / "student.onnx"
    runs: list[Distiller] = []
    distill(CONFIG, [PhotoSet(photos, n_views=3)], [(str(teacher), None)], out, after_step=runs.append)
    return out, runs[-1]


class Notes(Silent):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: Message) -> None:
        self.told.append(str(message))


def test_the_loss_falls_and_the_file_is_a_backbone(trained: tuple[Path, Distiller]) -> None:
    out, run = trained
    assert len(run.losses) == CONFIG.n_steps == 60
    assert np.mean(run.losses[-15:]) < 0.8 * np.mean(run.losses[:5])
    backbone = load_backbone(out)
    assert (backbone.dim, backbone.preprocess.input_size) == (64, 64)
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert about["views"] == CONFIG.views


def test_the_file_gives_what_torch_gives(trained: tuple[Path, Distiller]) -> None:
    out, run = trained
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = run.averaged()(normalised(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)).numpy()
    scale = float(np.abs(wanted).max())
    assert np.abs(Network(out, precision="f32").run_batch(images) - wanted).max() < 5e-3 * scale
    assert np.abs(Network(out, precision="auto").run_batch(images) - wanted).max() < 5e-2 * scale


def test_a_killed_run_ends_with_the_same_weights(
    photos: Path, teacher: Path, trained: tuple[Path, Distiller], tmp_path: Path
) -> None:
    (tmp_path / "tests_config.py").write_text(
        f"from mirada.training.distill import DistillConfig\nCONFIG = {CONFIG!r}\n"
    )
    out = tmp_path / "student.onnx"
    command = [sys.executable, "-c", RUN, str(photos), str(teacher), str(out), "13"]
    killed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert not out.exists()
    notes = Notes()
    distill(CONFIG, [PhotoSet(photos, n_views=3)], [(str(teacher), None)], out, progress=notes)
    assert "Taken up at step 10 of 60." in notes.told
    assert out.read_bytes() == trained[0].read_bytes()


def test_a_loss_that_is_no_number_stops_and_names_the_step(photos: Path, teacher: Path, tmp_path: Path) -> None:
    def spoil(run: Distiller) -> None:
        if run.step == 7:
            with torch.no_grad():
                next(run.student.parameters()).fill_(float("nan"))

    out = tmp_path / "student.onnx"
    with pytest.raises(BackboneError, match="step 7"):
        distill(CONFIG, [PhotoSet(photos)], [(str(teacher), None)], out, after_step=spoil)
    assert not out.exists()
    views = _views([PhotoSet(photos)], teacher, tmp_path / "student.work")
    kept = Distiller(CONFIG, views, tmp_path / "student.work", init=None)
    assert kept.restore()
    assert kept.step == 5
    assert all(bool(value.isfinite().all()) for value in kept.average.values())


def test_a_student_without_sound_weights_is_not_written(tmp_path: Path) -> None:
    student = build_student(STUDENTS["mirada-nano"], seed=0)
    with torch.no_grad():
        next(student.parameters()).fill_(1e6)
        student.body[-1][1].weight.fill_(float("nan"))
    with pytest.raises(BackboneError, match="was not written"):
        export_student(student, tmp_path / "bad.onnx", licence="", about={})
    assert not (tmp_path / "bad.onnx").exists()


def test_training_goes_on_from_a_shipped_file(photos: Path, teacher: Path, trained: tuple[Path, Distiller]) -> None:
    out, run = trained
    weights = initial_weights(out, CONFIG, run.views)
    again = build_student(STUDENTS["mirada-nano"], seed=3)
    again.load_state_dict(weights)
    x = normalised(torch.from_numpy(run.views.images(np.arange(16))).permute(0, 3, 1, 2).float() / 255)
    with torch.inference_mode():
        wanted = fused(run.averaged())(x)
        assert torch.allclose(again.eval()(x), wanted, atol=1e-2 * float(wanted.abs().max()))
    with pytest.raises(BackboneError, match="does not hold a mirada-small"):
        load_student_weights(out, build_student(STUDENTS["mirada-small"], seed=0), x)


def test_a_narrower_student_starts_from_the_channels_that_matter(tmp_path: Path) -> None:
    wide = build_student(STUDENTS["mirada-medium"], seed=0)
    x = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in wide.body:
            if isinstance(layer, Block):  # half of the hidden channels say next to nothing
                layer.second[1].weight.fill_(1.0)
                layer.second[0].weight[:, ::2] *= 1e-4
        next(layer for layer in wide.body if isinstance(layer, Block)).second[1].weight.fill_(1e-6)
        wide.train()(x)
    out = tmp_path / "wide.onnx"
    export_student(wide, out, licence="none", about={})
    narrow = build_student(STUDENTS["mirada-small"], seed=1)
    load_student_weights(out, narrow, x)
    with torch.no_grad():
        wanted, got = fused(wide)(x), narrow.eval()(x)
    assert float(functional.cosine_similarity(got, wanted).min()) > 0.95
    export_student(narrow, tmp_path / "narrow.onnx", licence="none", about={})
    with pytest.raises(BackboneError, match="does not hold a mirada-medium"):
        load_student_weights(tmp_path / "narrow.onnx", wide, x)


def test_unreadable_and_held_out_photographs_are_left_out(photos: Path, teacher: Path, tmp_path: Path) -> None:
    notes = Notes()
    hashes = frozenset(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(photos.glob("set0/*.jpg")))
    views = _views([PhotoSet(photos, n_views=2)], teacher, tmp_path, exclude=hashes, progress=notes)
    assert len(views) == 2 * (40 - len(hashes))
    assert len(notes.told) == 1
    assert notes.told[0].startswith("1 photographs in")
    limited = _views([PhotoSet(photos / "set1", limit=5)], teacher, tmp_path)
    assert len(limited) == 10


def test_views_are_taken_up_where_they_stopped(photos: Path, teacher: Path, tmp_path: Path) -> None:
    first = _views([PhotoSet(photos / "set1")], teacher, tmp_path)
    kept = np.array(first.pixels[0])
    # Progress set back to nothing: the same key finds the same folder and gives the same views.
    (mark,) = tmp_path.rglob("done.json")
    assert json.loads(mark.read_text())["done"] == len(kept) // 2
    mark.write_text('{"done": 0}')
    first.pixels[0][:] = 0
    assert np.array_equal(_views([PhotoSet(photos / "set1")], teacher, tmp_path).pixels[0], kept)
    shown = np.asarray(Image.open(sorted((photos / "set1").glob("*.jpg"))[0]))
    whole = Image.fromarray(shown).resize((64, 64), Image.Resampling.BICUBIC, box=(15, 0, 105, 90))
    assert np.abs(kept[0].astype(int) - np.asarray(whole).astype(int)).mean() < 2


def test_every_epoch_sees_every_view_once_in_another_order() -> None:
    epochs = [np.concatenate([batch_rows(64, 16, seed=1, step=e * 4 + i) for i in range(4)]) for e in range(2)]
    assert all(sorted(rows) == list(range(64)) for rows in epochs)
    assert not np.array_equal(*epochs)


def test_the_schedule_rises_holds_and_falls() -> None:
    config = DistillConfig(views=1000 * 256, warmup=100, cooldown=0.4)
    rates = [config.rate_at(step) for step in (0, 99, 599, 800, 999)]
    assert rates == pytest.approx([0.01, 1, 1, 0.5, 0], abs=1e-2)
    assert DistillConfig().rate_at(0) < 0.01
    assert [CONFIG.size_at(step) for step in (0, 29, 30, 59)] == [48, 48, 64, 64]


def test_the_loss_is_nothing_where_the_student_agrees(photos: Path, teacher: Path, tmp_path: Path) -> None:
    run = Distiller(CONFIG, _views([PhotoSet(photos)], teacher, tmp_path), tmp_path, init=None)
    (name,) = run.teachers
    wanted = torch.randn(16, 64)
    with torch.no_grad():
        run.heads.project[name].weight.copy_(torch.eye(64) / run.heads.get_buffer(f"spread_{name}"))
        run.heads.project[name].bias.copy_(
            -run.heads.get_buffer(f"mean_{name}") / run.heads.get_buffer(f"spread_{name}")
        )
        agreed = distill_loss(wanted, run.heads, {name: wanted}, relational=0.0)
        other = distill_loss(torch.randn(16, 64), run.heads, {name: wanted}, relational=0.0)
    assert float(agreed) == pytest.approx(0, abs=1e-5)
    assert float(other) > 0.5


def test_what_cannot_work_is_refused(photos: Path, teacher: Path, tmp_path: Path) -> None:
    views = _views([PhotoSet(photos)], teacher, tmp_path)
    with pytest.raises(UsageError, match="Unknown student"):
        Distiller(DistillConfig(student="resnet"), views, tmp_path, init=None)
    with pytest.raises(UsageError, match="A batch of 256"):
        Distiller(DistillConfig(), views, tmp_path, init=None)
    with pytest.raises(UsageError, match="at least one teacher"):
        distill(CONFIG, [photos], [], tmp_path / "x.onnx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no photographs"):
        distill(CONFIG, [tmp_path / "empty"], [(str(teacher), None)], tmp_path / "x.onnx")


def test_the_default_student_keeps_its_budget() -> None:
    student = build_student(STUDENTS["mirada-small"], seed=0)
    assert count_macs(student, student.spec.input_size) <= 300_000_000
    assert 2 * sum(parameter.numel() for parameter in fused(student).parameters()) <= 5_900_000


def _views(sets, teacher, work, *, exclude=frozenset(), progress=None):  # type: ignore[no-untyped-def]
    return prepare_views(
        sets,
        [BackboneTeacher(load_backbone(teacher))],
        work,
        spec=ViewSpec(side=64),
        exclude=exclude,
        progress=progress or Silent(),
    )
