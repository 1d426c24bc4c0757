"""What can go wrong in a training: each fault is named, and what was good before it stays."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mirada.errors import BackboneError, InputError, NotEnoughData, StorageError, UsageError
from mirada.models.recipe import ModelSpec, Recipe, Stage
from mirada.testing import pixels

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from mirada.models.base import Network  # noqa: E402
from mirada.training.checkpoint import NAME, put_tensors  # noqa: E402
from mirada.training.judge import predict_logits  # noqa: E402
from mirada.training.loop import fit  # noqa: E402
from mirada.training.outcome import FitOptions, LoopData  # noqa: E402
from mirada.training.rate_finder import find_rate  # noqa: E402
from mirada.types import PreprocessSpec  # noqa: E402

pytestmark = pytest.mark.train

SIDE = 8
F32 = FitOptions(precision="f32", threads=1)
STAGE = Stage(epochs=3, batch_size=8, lr=0.01)

WITHOUT_COMPILER = """
import numpy as np
from mirada.models.recipe import ModelSpec, Recipe, Stage
from mirada.models.scratch import Mlp
from mirada.training.loop import fit
from mirada.training.outcome import FitOptions, LoopData
images = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
data = LoopData((images, np.arange(24) % 3), None, 3)
stage = Stage(epochs=2, batch_size=8, monitor="train_loss", compile=True)
recipe = Recipe(name="test", summary={}, model=ModelSpec(name="mlp"), stages=(stage,))
fitted = fit(Mlp(n_classes=3, input_size=8), data, recipe, options=FitOptions(precision="f32", threads=1))
print(*fitted.notes, len(fitted.history), "epochs")
"""


class Dense(Network):
    """A dense network that has room for `room` photographs at a time and gives no numbers from step `broken` on."""

    def __init__(self, *, room: int = 10**6, broken: int = 10**6, error: type[Exception] = RuntimeError) -> None:
        super().__init__()
        self.preprocess = PreprocessSpec(input_size=SIDE, resize=SIDE)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body, self.head = nn.Linear(3 * SIDE * SIDE, 16), nn.Linear(16, 3)
        self.room, self.broken, self.error, self.step, self.largest = room, broken, error, 0, 0

    def features(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.room:
            raise self.error("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate …")
        self.largest = max(self.largest, len(x))
        self.step += self.training
        made = torch.tanh(self.body(x.flatten(1)))
        return made * float("nan") if self.training and self.step > self.broken else made

    def blocks(self) -> list[list[nn.Module]]:
        return [[self.body]]


def recipe(*stages: Stage) -> Recipe:
    return Recipe(name="test", summary={}, model=ModelSpec(name="dense"), stages=stages)


@pytest.fixture(scope="module")
def data() -> LoopData:
    images = np.stack([pixels(i, (SIDE, SIDE), look=i % 3, n_looks=3) for i in range(36)])
    labels = np.arange(36, dtype=np.int64) % 3
    return LoopData((images[:24], labels[:24]), (images[24:], labels[24:]), 3)


@pytest.mark.parametrize(
    "stage", [STAGE, replace(STAGE, restore_best=False, patience=1), replace(STAGE, monitor="val_accuracy")]
)
def test_a_monitor_that_nothing_measures_is_refused_before_training(data: LoopData, stage: Stage) -> None:
    network = Dense()
    with pytest.raises(UsageError, match=f"train watches {stage.monitor}, and there is no val"):
        fit(network, replace(data, val=None), recipe(stage), options=F32)
    assert network.step == 0


def test_without_val_a_stage_may_watch_its_own_loss(data: LoopData) -> None:
    fitted = fit(Dense(), replace(data, val=None), recipe(replace(STAGE, monitor="train_loss")), options=F32)
    assert fitted.history[-1].val_loss is None
    assert fitted.history[fitted.best_epoch - 1].train_loss == min(record.train_loss for record in fitted.history)


def test_more_classes_than_photographs_is_refused(data: LoopData) -> None:
    tiny = LoopData((data.train[0][:2], data.train[1][:2]), None, 3)
    with pytest.raises(NotEnoughData, match="3 classes and 2 photographs"):
        fit(Dense(), tiny, recipe(replace(STAGE, monitor="train_loss")), options=F32)
    with pytest.raises(NotEnoughData, match="val has no photographs"):
        fit(Dense(), replace(data, val=(data.train[0][:0], data.train[1][:0])), recipe(STAGE), options=F32)


def test_labels_and_classes_must_fit(data: LoopData) -> None:
    images, labels = data.train
    with pytest.raises(InputError, match="A label of train is 3; classes go from 0 to 2"):
        fit(Dense(), replace(data, train=(images, labels + 1)), recipe(STAGE), options=F32)
    with pytest.raises(InputError, match="train has 24 photographs and 23 labels"):
        fit(Dense(), replace(data, train=(images, labels[:-1])), recipe(STAGE), options=F32)
    with pytest.raises(UsageError, match="tells 3 classes apart; the data have 4"):
        fit(Dense(), replace(data, n_classes=4), recipe(STAGE), options=F32)
    with pytest.raises(UsageError, match="has no stage"):
        fit(Dense(), data, recipe(), options=F32)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_refused(data: LoopData) -> None:
    with pytest.raises(UsageError, match=r"no GPU that torch .* can use here. Use the device auto or cpu"):
        fit(Dense(), data, recipe(STAGE), options=replace(F32, device="cuda"))


def test_an_unknown_precision_is_refused(data: LoopData) -> None:
    with pytest.raises(UsageError, match="precision must be one of auto, bf16, f32; got f16"):
        fit(Dense(), data, recipe(STAGE), options=replace(F32, precision="f16"))  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_stops_and_the_last_good_state_stays(data: LoopData, tmp_path: Path) -> None:
    options = replace(F32, folder=tmp_path)
    with pytest.raises(BackboneError) as caught:
        fit(Dense(broken=4), data, recipe(STAGE), options=options)
    assert caught.value.code == "diverged"
    assert "stage train, epoch 2, step 2: training stopped" in str(caught.value)
    assert str(tmp_path / NAME) in str(caught.value)
    assert caught.value.hint is not None
    sound = fit(Dense(), data, recipe(STAGE), options=options)
    fresh = fit(Dense(), data, recipe(STAGE), options=F32)
    assert [record.epoch for record in sound.history] == [1, 2, 3]
    assert torch.equal(sound.network.head.weight, fresh.network.head.weight)


def test_a_rate_far_too_high_is_named_without_a_folder(data: LoopData) -> None:
    stage = replace(STAGE, optimizer="sgd", lr=1e38, momentum=0.0, schedule="constant")
    with pytest.raises(BackboneError, match=r"not a number in stage train.*Try a lower learning rate"):
        fit(Dense(), data, recipe(stage), options=F32)


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, torch.OutOfMemoryError])
@pytest.mark.parametrize("prefetch", [True, False])
def test_a_batch_that_does_not_fit_is_halved_and_the_result_is_the_same(
    data: LoopData, error: type[Exception], prefetch: bool
) -> None:
    network = Dense(room=3, error=error)
    fitted = fit(network, data, recipe(STAGE), options=replace(F32, prefetch=prefetch))
    roomy = fit(Dense(), data, recipe(STAGE), options=F32)
    assert (fitted.batch_size, roomy.batch_size, network.largest) == (2, 8, 3)  # val goes through in threes
    assert [str(note) for note in fitted.notes] == [
        f"train: a batch of 8 does not fit in memory: {n} at a time now, and as many to a step as before."
        for n in (4, 2)
    ]
    torch.testing.assert_close(fitted.network.head.weight, roomy.network.head.weight, atol=1e-5, rtol=0)
    assert fitted.history[-1].val_loss == pytest.approx(roomy.history[-1].val_loss, abs=1e-5)


def test_where_not_even_one_photograph_fits_there_is_an_end(data: LoopData) -> None:
    with pytest.raises(InputError, match="not even one photograph of 8 pixels fits"):
        fit(Dense(room=0), data, recipe(STAGE), options=F32)


def test_predictions_and_the_rate_finder_go_on_with_less(data: LoopData) -> None:
    images = data.train[0]
    wanted, given = predict_logits(Dense(), images), predict_logits(Dense(room=5), images)
    np.testing.assert_allclose(given, wanted, atol=1e-2)
    small, large = (find_rate(Dense(room=room), data, recipe(STAGE), options=F32, n_steps=12) for room in (3, 10**6))
    assert small.losses == pytest.approx(large.losses, rel=1e-3)


def test_another_error_of_the_network_is_its_own(data: LoopData) -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fit(Dense(), replace(data, train=(data.train[0], data.train[1])), recipe(replace(STAGE, sizes=((0.0, 12),))))


def test_a_full_disk_is_told_and_the_earlier_state_stays(data: LoopData, tmp_path: Path) -> None:
    options = replace(F32, folder=tmp_path, on_epoch=lambda record: record.epoch == 1)
    fit(Dense(), data, recipe(STAGE), options=options)
    good = (tmp_path / NAME).read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(good) // 2, before[1]))
    try:
        with pytest.raises(StorageError, match=r"disk that holds .* is full. Free some room"):
            fit(Dense(), data, recipe(STAGE), options=replace(options, on_epoch=None))
        with pytest.raises(StorageError, match="is full"):  # as the trained weights are kept
            put_tensors(tmp_path / "weights.safetensors", {"a": torch.zeros(len(good))})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == good
    whole = fit(Dense(), data, recipe(STAGE), options=replace(options, on_epoch=None))
    fresh = fit(Dense(), data, recipe(STAGE), options=F32)
    assert torch.equal(whole.network.head.weight, fresh.network.head.weight)


def test_a_folder_that_cannot_be_written_is_told(data: LoopData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write in"):
        fit(Dense(), data, recipe(STAGE), options=replace(F32, folder=tmp_path / "file" / "state"))


@pytest.mark.long
def test_without_a_compiler_it_goes_on(tmp_path: Path, long_run: bool) -> None:
    if not long_run:
        pytest.skip("loading the compiler takes long; make test-long runs it")
    env = {**os.environ, "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], env=env, capture_output=True, text=True, check=True)
    assert "torch.compile does not work here; going on without it: InvalidCxxCompiler" in done.stdout
    assert done.stdout.endswith("2 epochs\n")
