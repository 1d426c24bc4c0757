"""A training killed at any moment, or paused, ends with the weights of one that was left alone, to the bit."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file  # noqa: E402

from mirada.engine.base import Silent  # noqa: E402
from mirada.messages import Message  # noqa: E402
from mirada.training.checkpoint import NAME  # noqa: E402
from mirada.training.loop import fit  # noqa: E402
from mirada.training.outcome import ALL_EPOCHS, PAUSED, EpochRecord, FitOptions, Fitted  # noqa: E402

pytestmark = pytest.mark.train

# What is trained, and a process that has loaded torch once and trains in children of its own, which it kills.
RUN = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
import torch._dynamo  # which torch's optimisers load: once here, not in every child
from safetensors.torch import save_file
from mirada.engine.base import Silent
from mirada.models.recipe import Augment, ModelSpec, Recipe, Stage
from mirada.models.scratch import Cifar10Cnn
from mirada.testing import pixels
from mirada.training.loop import fit
from mirada.training.outcome import FitOptions, LoopData

def part(n, first):
    labels = np.arange(n, dtype=np.int64) % 3
    return np.stack([pixels(first + i, (16, 16), look=i % 3, n_looks=3) for i in range(n)]), labels

def network(seed=0):
    return Cifar10Cnn(n_classes=3, input_size=16, hidden=(8,), dropout=0.2, seed=seed)

data = LoopData(part(57, 0), part(12, 900), 3)
recipe = Recipe(name="test", summary={}, model=ModelSpec(name="cifar10_cnn", l2=1e-4), stages=(
    Stage(name="first", epochs=3, batch_size=8, accumulate=2, lr=0.005, warmup=0.2, ema=0.9, weight_decay=0.01,
          sampling="balanced", clip_norm=1.0, augment=Augment(flip="random", translate=0.1, mixup=0.2)),
    Stage(name="second", epochs=3, batch_size=16, trainable="last:3", optimizer="muon", lr=0.02, layer_decay=0.7,
          schedule="plateau", plateau_patience=1, patience=2, augment=Augment(flip="alternating", erase=0.2)),
))

class KillAt(Silent):
    def __init__(self, step, delay_s):
        self.left, self.delay_s = step, delay_s
    def advance(self, n=1):
        self.left -= n
        if n == 1 and self.left == 0:
            threading.Timer(self.delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

def run(folder, step, delay_s, out):
    options = FitOptions(seed=3, threads=1, folder=folder, checkpoint_steps=3, progress=KillAt(step, delay_s))
    fitted = fit(network(), data, recipe, options=options)
    save_file(fitted.network.state_dict(), out)

if __name__ == "__main__":
    for line in sys.stdin:
        folder, step, delay_s, out = line.split()
        child = os.fork()
        if not child:
            run(Path(folder), int(step), float(delay_s), out)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
N_STEPS = 4 * 3 + 4 * 3


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "killed_run.py"
    path.write_text(RUN)
    return path


@pytest.fixture(scope="module")
def made(script: Path) -> ModuleType:
    """The script as a module: its data, recipe and network."""
    spec = importlib.util.spec_from_file_location("killed_run", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def undisturbed(made: ModuleType) -> Fitted:
    return fit(made.network(), made.data, made.recipe, options=FitOptions(seed=3, threads=1))


def differing(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> list[str]:
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not torch.equal(ours[name], theirs[name])]


def told(record: EpochRecord) -> EpochRecord:
    """What does not depend on the clock or the machine."""
    return replace(record, seconds=0.0, cpu_percent=None, rss_mb=None)


class Notes(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: Message) -> None:
        self.told.append(str(message))


def test_a_run_killed_again_and_again_ends_with_the_same_weights(
    script: Path, made: ModuleType, undisturbed: Fitted, tmp_path: Path, long_run: bool
) -> None:
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    kills = [(int(rng.integers(1, 8)), round(rng.uniform(0, 0.05), 4)) for _ in range(10 if long_run else 2)]
    lines = [f"{tmp_path / 'state'} {step} {delay} {tmp_path / 'out'}" for step, delay in [*kills, (10**6, 0)]]
    asked = "\n".join(lines)
    done = subprocess.run(
        [sys.executable, str(script)], input=asked, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    statuses = [int(line) for line in done.stdout.split()]
    assert -signal.SIGKILL in statuses, (kills, done.stderr)
    assert set(statuses) <= {0, -signal.SIGKILL}, (kills, done.stderr)
    assert statuses[-1] == 0, (kills, done.stderr)
    assert differing(undisturbed.network.state_dict(), load_file(tmp_path / "out")) == [], kills
    # the last state is the finished run: taken up, it gives the same once more, and all of its history
    options = FitOptions(seed=3, threads=1, folder=tmp_path / "state")
    again = fit(made.network(), made.data, made.recipe, options=options)
    assert differing(undisturbed.network.state_dict(), again.network.state_dict()) == []
    assert [told(record) for record in again.history] == [told(record) for record in undisturbed.history]
    assert again.stops == undisturbed.stops
    assert not list((tmp_path / "state").glob("*.part"))


def stop_after(n: int) -> Callable[[EpochRecord], bool]:
    return lambda record: record.epoch == n


@pytest.mark.parametrize("every", [1, 3])
def test_a_paused_run_goes_on_where_it_was(made: ModuleType, undisturbed: Fitted, tmp_path: Path, every: int) -> None:
    options = FitOptions(seed=3, threads=1, folder=tmp_path, checkpoint_epochs=every)
    paused = fit(made.network(), made.data, made.recipe, options=replace(options, on_epoch=stop_after(2)))
    assert paused.stop_reason == PAUSED
    assert [told(record) for record in paused.history] == [told(record) for record in undisturbed.history[:2]]
    seen: list[int] = []
    options = replace(options, on_epoch=lambda record: seen.append(record.epoch))
    whole = fit(made.network(), made.data, made.recipe, options=options)
    assert seen == list(range(3, len(undisturbed.history) + 1))
    assert whole.stops[0].reason == ALL_EPOCHS
    assert differing(undisturbed.network.state_dict(), whole.network.state_dict()) == []


def test_an_interrupt_leaves_the_checkpoint_and_nothing_running(
    made: ModuleType, undisturbed: Fitted, tmp_path: Path
) -> None:
    class Interrupt(Silent):
        left = 6

        def advance(self, n: int = 1) -> None:
            self.left -= n
            if n == 1 and self.left == 0:
                raise KeyboardInterrupt

    before = {thread.name for thread in threading.enumerate()}
    options = FitOptions(seed=3, threads=1, folder=tmp_path, checkpoint_steps=3)
    with pytest.raises(KeyboardInterrupt):
        fit(made.network(), made.data, made.recipe, options=replace(options, progress=Interrupt()))
    assert {thread.name for thread in threading.enumerate()} == before
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    whole = fit(made.network(), made.data, made.recipe, options=options)
    assert differing(undisturbed.network.state_dict(), whole.network.state_dict()) == []


@pytest.mark.parametrize("change", ["seed", "recipe", "data", "network", "cut short"])
def test_the_state_of_another_run_is_not_taken_up(made: ModuleType, tmp_path: Path, change: str) -> None:
    recipe = replace(made.recipe, stages=(replace(made.recipe.stages[1], epochs=1, monitor="train_loss"),))
    options = FitOptions(seed=3, threads=1, folder=tmp_path)
    fit(made.network(), made.data, recipe, options=options)
    network, data, notes = made.network(seed=int(change == "network")), made.data, Notes()
    options = replace(options, progress=notes, seed=4 if change == "seed" else 3)
    if change == "recipe":
        recipe = replace(recipe, stages=(replace(recipe.stages[0], lr=0.5),))
    if change == "data":
        data = replace(data, train=(255 - data.train[0], data.train[1]))
    if change == "cut short":
        (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-10])
    fitted = fit(network, data, recipe, options=options)
    assert notes.told == [f"{tmp_path / NAME} is the state of another run: training starts anew."]
    assert [str(note) for note in fitted.notes] == notes.told
    alone = replace(options, folder=None, progress=Silent())
    fresh = fit(made.network(seed=int(change == "network")), data, recipe, options=alone)
    assert differing(fresh.network.state_dict(), fitted.network.state_dict()) == []
