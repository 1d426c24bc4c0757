"""Searches: complete, resumed after kills to the same weights, shared by processes, and told in a table."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mirada.cli.output import table
from mirada.errors import UsageError
from mirada.models.recipe import ModelSpec, Recipe, Stage
from mirada.search.halving import Halving
from mirada.search.journal import NAME, Journal
from mirada.search.runner import LoopRunner, ManyRunner, RunnerOptions, fold_data, runner_for
from mirada.search.space import Choice, Range, Space
from mirada.search.study import SearchResult, search
from mirada.search.table import table_cells, table_document, table_head, table_rows, to_json
from mirada.search.trial import Progressed, Trial
from mirada.training.outcome import LoopData

pytestmark = pytest.mark.train
EPOCHS = 9
BASE = Recipe(
    name="small",
    summary={"en": "Small."},
    model=ModelSpec(name="mlp", hidden=(16,)),
    stages=(Stage(epochs=EPOCHS, optimizer="adam", lr=3e-3, batch_size=32, schedule="constant"),),
)
GRID = Space(
    name="small",
    recipe="small",
    axes={
        "stage.optimizer": Choice(("adam", "sgd", "rmsprop")),
        "model.activation": Choice(("relu", "tanh", "sigmoid")),
    },
)
FAST = replace(GRID, halving=Halving(min_epochs=1, eta=3))
PRECISE = RunnerOptions(precision="f32", threads=2)


def small_data(n: int = 192, side: int = 8, *, seed: int = 0) -> LoopData:
    """Photographs whose class is the brightest of three colours, with noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n + 99)
    images = rng.integers(0, 170, (n + 99, side, side, 3))
    images[np.arange(n + 99), :, :, labels] += 24
    pixels = images.astype(np.uint8)
    return LoopData((pixels[:n], labels[:n]), (pixels[n:], labels[n:]), 3)


def weights_of(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    return {str(path.relative_to(folder)): load_file(path) for path in sorted(folder.glob("trials/*/*/*.safetensors"))}


def same_weights(a: Path, b: Path) -> bool:
    one, other = weights_of(a), weights_of(b)
    return one.keys() == other.keys() and all(
        one[path].keys() == other[path].keys() and all(np.array_equal(one[path][k], other[path][k]) for k in one[path])
        for path in one
    )


def told(result: SearchResult) -> list[tuple[int, dict[str, object], list[float], list[int]]]:
    """What must not depend on who trained it and when."""
    return [(e.number, dict(e.params), [r.value for r in e.rungs], [r.epochs for r in e.rungs]) for e in result.entries]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    folder = tmp_path_factory.mktemp("search") / "undisturbed"
    return search(FAST, BASE, ManyRunner([small_data()], PRECISE), folder)


def test_a_grid_is_complete_and_each_point_once(tmp_path: Path) -> None:
    result = search(GRID, BASE, ManyRunner([small_data()], PRECISE), tmp_path)
    points = [tuple(entry.params.values()) for entry in result.entries]
    assert len(points) == len(set(points)) == 9
    assert all(entry.finished and entry.latest and entry.latest.epochs == EPOCHS for entry in result.entries)
    assert all(entry.latest and len(entry.latest.values) == EPOCHS for entry in result.entries)
    assert result.n_epochs == 9 * EPOCHS
    assert sorted(result.ranking) == list(range(9))
    assert result.winner.latest is not None
    assert result.winner.latest.value == max(entry.latest.value for entry in result.entries if entry.latest) > 0.6


def test_halving_goes_on_from_the_paused_epoch(undisturbed: SearchResult) -> None:
    assert undisturbed.n_epochs == 9 * 1 + 3 * 2 + 1 * 6
    assert sorted(len(entry.rungs) for entry in undisturbed.entries) == [1] * 6 + [2] * 2 + [3]
    best = undisturbed.winner
    assert [rung.epochs for rung in best.rungs] == [1, 3, 9]
    assert best.rungs[2].values[:3] == best.rungs[1].values, "the paused curve goes on"
    assert len(best.rungs[2].values) == 9


def test_what_halving_pauses_ends_as_if_never_paused(undisturbed: SearchResult, tmp_path: Path) -> None:
    whole = search(GRID, BASE, ManyRunner([small_data()], PRECISE), tmp_path)
    place = f"trials/{undisturbed.winner.number:04d}/part-0/state.safetensors"
    paused, straight = load_file(undisturbed.folder / place), load_file(whole.folder / place)
    assert all(np.array_equal(paused[name], straight[name]) for name in straight)


class Interrupted(Exception):
    pass


def test_a_search_that_is_over_is_not_run_again(undisturbed: SearchResult) -> None:
    class Refusing(ManyRunner):
        def run(self, trials: Sequence[Trial], *, upto_epoch: int, folders: Sequence[Path]) -> list[Progressed]:
            raise Interrupted

    again = search(FAST, BASE, Refusing([small_data()], PRECISE), undisturbed.folder)
    assert told(again) == told(undisturbed)


def test_the_loop_takes_what_the_group_cannot_and_finds_the_same(tmp_path: Path, undisturbed: SearchResult) -> None:
    two = replace(FAST, axes={"stage.optimizer": Choice(("adam", "sgd"))}, halving=Halving(min_epochs=2, eta=2))
    options = RunnerOptions(precision="f32", threads=1)
    looped = search(two, BASE, LoopRunner([small_data()], options), tmp_path / "loop")
    group = search(two, BASE, ManyRunner([small_data()], options), tmp_path / "many")
    assert [len(entry.rungs) for entry in looped.entries] == [len(entry.rungs) for entry in group.entries]
    assert looped.n_epochs == group.n_epochs == 2 + 9
    for a, b in zip(looped.entries, group.entries, strict=True):
        assert a.latest is not None
        assert b.latest is not None
        assert a.latest.n_parameters == b.latest.n_parameters == 3 * 64 * 16 + 16 + 16 * 3 + 3
        assert a.latest.values == pytest.approx(b.latest.values, abs=0.04)


def test_which_runner() -> None:
    parts = [small_data()]
    assert isinstance(runner_for([BASE], parts), ManyRunner)
    cnn = replace(BASE, model=ModelSpec(name="cifar10-cnn"))
    assert isinstance(runner_for([BASE, cnn], parts), LoopRunner)


def test_folds_judge_every_photograph_once(tmp_path: Path) -> None:
    parts = fold_data(small_data(), 3)
    assert sum(len(part.val[1]) for part in parts if part.val) == 192
    one = replace(GRID, axes={"stage.optimizer": Choice(("adam", "sgd"))}, folds=3)
    result = search(one, BASE, ManyRunner(parts, PRECISE), tmp_path)
    row = table_rows(result)[0]
    assert row.accuracy.n == 192
    assert row.value == row.accuracy.value > 0.6


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_random_and_tpe_are_the_same_for_the_same_seed(kind: str, tmp_path: Path) -> None:
    space = Space(
        name="drawn", recipe="small", kind=kind, trials=5, seed=1, halving=Halving(min_epochs=1, eta=3),  # type: ignore[arg-type]
        axes={"stage.lr": Range(1e-4, 1e-1, log=True), "model.hidden": Choice(((8,), (8, 8))),
              "stage.batch_size": Range(16, 64, step=16, whole=True)},
    )  # fmt: skip
    runner = ManyRunner([small_data()], PRECISE, at_once=1)
    one, other = search(space, BASE, runner, tmp_path / "a"), search(space, BASE, runner, tmp_path / "b")
    assert told(one) == told(other)
    assert len(one.entries) == 5
    assert {entry.params["stage.batch_size"] for entry in one.entries} <= {16, 32, 48, 64}


def test_a_folder_of_another_search_is_refused(undisturbed: SearchResult) -> None:
    runner = ManyRunner([small_data()], PRECISE)
    with pytest.raises(UsageError, match="another space"):
        search(GRID, BASE, runner, undisturbed.folder)
    with pytest.raises(UsageError, match="other photographs"):
        search(FAST, BASE, ManyRunner([small_data(seed=1)], PRECISE), undisturbed.folder)


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path, FAST, data="x")
    with journal.locked():
        journal.add({"stage.optimizer": "adam", "model.activation": "relu"})
    with (tmp_path / NAME).open("a") as handle:
        handle.write('{"op_code": 4, "tor')
    again = Journal(tmp_path, FAST, data="x")
    with again.locked():
        again.add({"stage.optimizer": "sgd", "model.activation": "relu"})
    assert [entry.params["stage.optimizer"] for entry in Journal(tmp_path, FAST, data="x").entries()] == ["adam", "sgd"]


def test_a_trial_is_held_by_one(tmp_path: Path) -> None:
    one, other = Journal(tmp_path, FAST, data="x"), Journal(tmp_path, FAST, data="x")
    held = one.claim(0)
    assert held is not None
    assert other.claim(0) is None
    held.close()
    again = other.claim(0)
    assert again is not None
    again.close()


NEST = """
import json, os, sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
import test_study as t

class Logged(t.ManyRunner):
    def run(self, trials, *, upto_epoch, folders):
        with log.open("a") as file:
            file.writelines(f"{trial.number} {upto_epoch}\\n" for trial in trials)
        return super().run(trials, upto_epoch=upto_epoch, folders=folders)

print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        print(os.waitpid(asked["wait"], 0)[1], flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    folder = Path(asked["folder"])
    log = folder.with_suffix(".begun")
    options = t.RunnerOptions(precision="f32", threads=1, save_every_s=0)
    slowly = lambda place, record: time.sleep(0.03)
    runner = Logged([t.small_data()], options, at_once=asked["at_once"], on_epoch=slowly)
    t.search(t.SPACES[asked["space"]], t.BASE, runner, folder)
    os._exit(0)
"""
SPACES = {"fast": FAST, "asynchronous": replace(FAST, halving=Halving(min_epochs=1, eta=3, asynchronous=True))}


class Nest:
    """A process that has loaded everything and forks workers: each is a process of its own, but starts at once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", NEST, str(Path(__file__).parent)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self._read() == "ready"

    def worker(self, folder: Path, space: str = "fast", at_once: int = 100) -> int:
        """A worker's process id; it begins at once."""
        return int(self._ask(folder=str(folder), space=space, at_once=at_once))

    def wait(self, pid: int) -> int:
        """The worker's exit status, as `os.waitpid` has it."""
        return int(self._ask(wait=pid))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _ask(self, **what: object) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="module")
def nest() -> Iterator[Nest]:
    made = Nest()
    yield made
    made.close()


def test_killed_at_random_moments_it_ends_as_undisturbed(
    tmp_path: Path, undisturbed: SearchResult, nest: Nest, long_run: bool
) -> None:
    chance, folder = random.Random(5), tmp_path / "killed"
    for turn in range(10 if long_run else 2):
        if turn % 2 == 0:  # two kills each
            folder = tmp_path / f"killed-{turn}"
        pid = nest.worker(folder)
        time.sleep(chance.uniform(0.02, 0.5))
        os.kill(pid, signal.SIGKILL)
        assert nest.wait(pid) == signal.SIGKILL, "it was over before the kill"
    for folder in tmp_path.glob("killed-?"):
        result = search(FAST, BASE, ManyRunner([small_data()], PRECISE), folder)
        assert told(result) == told(undisturbed)
        assert result.winner.number == undisturbed.winner.number
        assert [entry.number for entry in result.entries] == list(range(9))
        assert same_weights(folder, undisturbed.folder)


@pytest.mark.parametrize("space", ["fast", "asynchronous"])
def test_two_processes_share_a_journal(space: str, tmp_path: Path, undisturbed: SearchResult, nest: Nest) -> None:
    folder = tmp_path / "shared"
    both = [nest.worker(folder, space, at_once=1) for _ in range(2)]
    assert [nest.wait(pid) for pid in both] == [0, 0]
    begun = [tuple(map(int, line.split())) for line in folder.with_suffix(".begun").read_text().splitlines()]
    assert len(begun) == len(set(begun)), "nothing is done twice"
    result = search(SPACES[space], BASE, ManyRunner([small_data()], PRECISE), folder)
    assert len(begun) == sum(len(entry.rungs) for entry in result.entries)
    if space == "fast":
        assert told(result) == told(undisturbed)
        assert same_weights(folder, undisturbed.folder)


def test_the_table(undisturbed: SearchResult) -> None:
    rows = table_rows(undisturbed)
    assert rows[0].number == undisturbed.winner.number
    assert rows[0].verdict is None
    assert [row.complete for row in rows] == [True] + [False] * 8
    for row in rows:
        assert row.accuracy.n == 99
        assert row.accuracy.low < row.accuracy.value < row.accuracy.high
    text = "\n".join(table(table_head(undisturbed), table_cells(rows)))
    assert "optimizer" in text
    assert "the best" in text
    document = json.loads(to_json(undisturbed))
    assert document["winner"] == rows[0].number
    assert document["n_epochs"] == 21
    assert document == json.loads(json.dumps(table_document(undisturbed)))


def test_equal_answers_are_a_tie(tmp_path: Path) -> None:
    """weight_decay 0 and 1e-30 make the same network: neither is better."""
    same = replace(GRID, axes={"stage.weight_decay": Choice((0.0, 1e-30))})
    rows = table_rows(search(same, BASE, ManyRunner([small_data()], PRECISE), tmp_path))
    assert [row.number for row in rows] == [0, 1]
    assert rows[1].verdict == "tie"
    assert rows[1].p_value == 1.0
    assert "tie" in str(table_cells(rows)[1][-1])


def test_a_network_that_diverges_ends_its_trial_alone(tmp_path: Path) -> None:
    wild = replace(FAST, axes={"stage.lr": Choice((3e-3, 1e30)), "stage.optimizer": Choice(("sgd",))})
    result = search(wild, BASE, ManyRunner([small_data()], PRECISE), tmp_path)
    rows = {row.number: row for row in table_rows(result)}
    assert result.winner.number == 0
    assert rows[1].diverged
    assert not rows[0].diverged
    assert json.loads(to_json(result))["trials"][-1]["value"] is None
