"""Successive halving, ASHA and Hyperband promote as their papers say, and train no epoch twice."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mirada.search.halving import (
    Halving,
    Schedule,
    Standing,
    Work,
    all_rungs,
    bracket_sizes,
    is_over,
    promoted,
    ready,
    survivors,
)


def play(
    schedule: Schedule, score: Callable[[int, int], float], *, pick: Callable[[list[Work]], Work] = lambda w: w[0]
) -> tuple[list[Work], list[Standing]]:
    """Do all the work there is, one at a time; trials become known when nothing else is left."""
    known: list[Standing] = []
    done: list[Work] = []
    while not is_over(schedule, known):
        works = ready(schedule, known)
        if not works and len(known) < schedule.n_trials:
            known.append(Standing(len(known)))
            works = ready(schedule, known)
        work = pick(works)
        done.append(work)
        old = known[work.number]
        known[work.number] = Standing(work.number, (*old.scores, score(work.number, work.epochs)))
    return done, known


def test_the_example_of_asha_s_paper() -> None:
    """Li et al. 2018, section 3.1: n = 9, r = 1, R = 9, eta = 3: 9 for 1, 3 for 3, 1 for 9 epochs in bracket 0."""
    schedule = Schedule(9, 9, Halving(min_epochs=1, eta=3))
    done, _ = play(schedule, lambda number, _: -number)
    assert [(w.number, w.epochs) for w in done] == [(n, 1) for n in range(9)] + [(n, 3) for n in range(3)] + [(0, 9)]


def test_asha_promotes_as_soon_as_one_is_among_the_best_third() -> None:
    schedule = Schedule(9, 9, Halving(min_epochs=1, eta=3, asynchronous=True))
    done, _ = play(schedule, lambda number, _: -number)
    order = [(0, 1), (1, 1), (2, 1), (0, 3), (3, 1), (4, 1), (5, 1), (1, 3), (6, 1), (7, 1), (8, 1), (2, 3), (0, 9)]
    assert [(w.number, w.epochs) for w in done] == order


def test_hyperband_s_table() -> None:
    """Li et al. 2018 (JMLR), table 1: R = 81, eta = 3."""
    halving = Halving(min_epochs=1, eta=3, brackets=5)
    assert bracket_sizes(halving, 81) == [81, 27, 9, 6, 5]
    schedule = Schedule(128, 81, halving)
    assert [schedule.rungs(b) for b in range(5)] == [(1, 3, 9, 27, 81), (3, 9, 27, 81), (9, 27, 81), (27, 81), (81,)]
    done, known = play(schedule, lambda number, _: number)
    counted = {epochs: sum(w.epochs == epochs for w in done) for epochs in (1, 3, 9, 27, 81)}
    assert counted == {1: 81, 3: 27 + 27, 9: 9 + 9 + 9, 27: 3 + 3 + 3 + 6, 81: 1 + 1 + 1 + 2 + 5}
    assert len(survivors(schedule, known)) == 10


def test_epochs_are_counted_once() -> None:
    """27 trials: 2 each, then 9 for 4 more, 3 for 12 more, 1 for 32 more."""
    schedule = Schedule(27, 50, Halving(min_epochs=2, eta=3))
    assert all_rungs(schedule.halving, 50) == (2, 6, 18, 50)
    done, known = play(schedule, lambda number, _: number)
    trained, at = 0, dict.fromkeys(range(27), 0)
    for work in done:
        trained += work.epochs - at[work.number]
        at[work.number] = work.epochs
    assert trained == 27 * 2 + 9 * 4 + 3 * 12 + 32
    assert survivors(schedule, known) == {26}


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_workers_finish_changes_nothing_when_synchronous(seed: int) -> None:
    schedule = Schedule(27, 9, Halving(min_epochs=1, eta=3))
    scores = random.Random(0)
    table = [[scores.random() for _ in range(10)] for _ in range(27)]
    first, _ = play(schedule, lambda n, e: table[n][e])
    chance = random.Random(seed)
    other, _ = play(schedule, lambda n, e: table[n][e], pick=chance.choice)
    assert sorted(first, key=str) == sorted(other, key=str)


def test_a_trial_that_stopped_by_itself_keeps_its_score_and_is_not_trained() -> None:
    schedule = Schedule(3, 9, Halving(min_epochs=1, eta=3))
    known = [Standing(0, (0.9,), over=True), Standing(1, (0.5,)), Standing(2, (0.4,))]
    assert promoted(schedule, (0, 0), known, 1) == {0}
    assert is_over(schedule, known)
    assert survivors(schedule, known) == {0}


def test_without_halving_every_trial_goes_to_the_end() -> None:
    schedule = Schedule(4, 50)
    done, known = play(schedule, lambda number, _: 0.0)
    assert [(w.number, w.epochs) for w in done] == [(n, 50) for n in range(4)]
    assert survivors(schedule, known) == {0, 1, 2, 3}
