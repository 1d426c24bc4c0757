"""The search itself: take what is ready, train it, write down what came of it, until nothing is left.

Several processes may call `search` on one folder at the same time, and any of them may be killed: what it held is
free at once, and goes on from the epoch where it was kept.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mirada.engine.base import Progress, Silent
from mirada.messages import msg
from mirada.models.recipe import Recipe
from mirada.search.halving import Schedule, Standing, Work, is_over, ready, survivors
from mirada.search.journal import Entry, Journal, standings
from mirada.search.sampling import Known, draw
from mirada.search.space import Space, apply, check_axes
from mirada.search.trial import Progressed, Runner, Trial

POLL_S = 0.2
LABELS = "labels.npy"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """All trials in order of their numbers, the best first in `ranking` (numbers of those trained to the end)."""

    space: Space
    entries: tuple[Entry, ...]
    ranking: tuple[int, ...]
    folder: Path
    seconds: float

    @property
    def winner(self) -> Entry:
        """The best trial."""
        return self.entries[self.ranking[0]]

    @property
    def n_epochs(self) -> int:
        """Epochs trained in all."""
        return sum(entry.latest.epochs for entry in self.entries if entry.latest)


def search(
    space: Space, recipe: Recipe, runner: Runner, folder: Path, *, progress: Progress | None = None
) -> SearchResult:
    """Run the search in `folder`, or go on with it; `recipe` is the space's base. Gives the result when all is done.

    Raises UsageError for an axis that the recipe does not have, or a folder that holds another search.
    """
    check_axes(space, recipe)
    recipe = apply(recipe, space.fixed)
    began = time.perf_counter()
    hunt = _Search(space, recipe, runner, Journal(folder, space, data=runner.mark), progress or Silent())
    np.save(folder / LABELS, runner.labels)
    hunt.run()
    entries = hunt.journal.entries()
    order = ranking(hunt.schedule, standings(entries, space))
    return SearchResult(space, tuple(entries), tuple(order), folder, time.perf_counter() - began)


def schedule_of(space: Space, recipe: Recipe) -> Schedule:
    """How many trials there are, and how far each may go."""
    return Schedule(space.n_trials, sum(stage.epochs for stage in recipe.stages), space.halving)


def ranking(schedule: Schedule, known: Sequence[Standing]) -> list[int]:
    """Numbers of the trials that were trained to the end (or stopped there by themselves), the best first.

    Ties go to the lower number.
    """
    left = survivors(schedule, known)
    scores = {s.number: s.score(len(schedule.rungs(schedule.bracket(s.number)[1])) - 1) for s in known}
    ended = {number: score for number, score in scores.items() if score is not None and number in left}
    return sorted(ended, key=lambda number: (-ended[number], number))


class _Search:
    def __init__(self, space: Space, recipe: Recipe, runner: Runner, journal: Journal, progress: Progress) -> None:
        self.space, self.recipe, self.runner, self.journal, self.progress = space, recipe, runner, journal, progress
        self.schedule = schedule_of(space, recipe)

    def run(self) -> None:
        self.progress.start(msg("Searching {name}", name=self.space.name), self.schedule.n_trials)
        while True:
            with ExitStack() as held:
                works = self._take(held)
                if works is None:
                    break
                if works:
                    self._do(works)
            if not works:
                time.sleep(POLL_S)
        self.progress.finish()

    def _take(self, held: ExitStack) -> list[Work] | None:
        """Claim what is ready, at most as much as the runner takes; empty: wait for others; None: all is done."""
        with self.journal.locked():
            entries = self.journal.entries()
            known = standings(entries, self.space)
            if is_over(self.schedule, known):
                return None if self._close(entries, known) else []
            works = self._claim(ready(self.schedule, known), held)
            while len(entries) < self.schedule.n_trials and len(works) < self.runner.at_once:
                entry = self.journal.add(draw(self.space, len(entries), self._known(entries)))
                entries.append(entry)
                rung = self.schedule.bracket(entry.number)[1]
                works += self._claim([Work(entry.number, rung, self.schedule.rungs(rung)[0])], held, like=works)
            return works

    def _claim(self, works: Sequence[Work], held: ExitStack, *, like: Sequence[Work] = ()) -> list[Work]:
        """Those that nobody holds, all up to the same epoch."""
        taken: list[Work] = list(like)
        for work in works:
            if len(taken) >= self.runner.at_once or (taken and work.epochs != taken[0].epochs):
                continue
            handle = self.journal.claim(work.number)
            if handle is not None:
                held.enter_context(handle)
                taken.append(work)
        return taken[len(like) :]

    def _known(self, entries: Sequence[Entry]) -> list[Known]:
        known = []
        for entry, standing in zip(entries, standings(entries, self.space), strict=True):
            epochs = [rung.epochs for rung in entry.rungs]
            complete = bool(epochs) and (standing.over or epochs[-1] >= self.schedule.epochs)
            finite = {e: max(score, -1e9) for e, score in zip(epochs, standing.scores, strict=True)}
            known.append(Known(entry.params, finite, complete))
        return known

    def _do(self, works: Sequence[Work]) -> None:
        entries = self.journal.entries()
        trials = [
            Trial(work.number, entries[work.number].params, apply(self.recipe, entries[work.number].params))
            for work in works
        ]
        folders = [self.journal.trial_folder(work.number) for work in works]
        made = self.runner.run(trials, upto_epoch=works[0].epochs, folders=folders)
        with self.journal.locked():
            for work, progressed in zip(works, made, strict=True):
                self.journal.record(work.number, progressed)
        self.progress.advance(len(works))

    def _close(self, entries: Sequence[Entry], known: Sequence[Standing]) -> bool:
        """Write down that nothing more will come; False where somebody is still at a trial."""
        left = survivors(self.schedule, known)
        for entry in entries:
            latest: Progressed | None = entry.latest
            if entry.finished or latest is None:
                continue
            handle = self.journal.claim(entry.number)
            if handle is None:
                return False
            with handle:
                self.journal.finish(entry.number, value=latest.value, complete=entry.number in left)
        return True
