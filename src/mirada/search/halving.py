"""Who is trained next and how far: successive halving and Hyperband, going on from the epoch where a trial paused.

Pure functions of what is known so far. Synchronous (Jamieson and Talwalkar 2016): a rung's best 1 / eta go on once
all of the rung are there. Asynchronous (ASHA, Li et al. 2018, "Massively parallel hyperparameter tuning"): a trial
goes on as soon as it is among the best 1 / eta of those that have reached its rung. Hyperband (Li et al. 2018, JMLR
18) runs brackets side by side that begin at ever later rungs, in case the first epochs mislead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Halving:
    """Rungs at min_epochs, times eta, and so on up to max_epochs (0: all the epochs of the recipe)."""

    min_epochs: int = 1
    max_epochs: int = 0
    eta: int = 3
    brackets: int = 1
    asynchronous: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """A trial as it stands: `scores` at the rungs it has reached, best is highest.

    `over`: it cannot be trained further (it stopped by itself); its last score then counts for all later rungs.
    """

    number: int
    scores: tuple[float, ...] = ()
    over: bool = False

    def score(self, rung: int) -> float | None:
        """At a rung; None where it is not known."""
        if rung < len(self.scores):
            return self.scores[rung]
        return self.scores[-1] if self.over and self.scores else None


@dataclass(frozen=True, slots=True)
class Work:
    """Train trial `number` up to epoch `epochs`, which is its rung `rung`."""

    number: int
    rung: int
    epochs: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is asked of `n_trials` trials: all epochs at once (halving None), or by halving."""

    n_trials: int
    epochs: int
    halving: Halving | None = None

    def bracket(self, number: int) -> tuple[int, int]:
        """(round of Hyperband, bracket) of a trial; bracket b begins at rung b."""
        return _brackets(self)[number]

    def rungs(self, bracket: int) -> tuple[int, ...]:
        """Epochs of a bracket's rungs."""
        return all_rungs(self.halving, self.epochs)[bracket:]

    def size(self, bracket: tuple[int, int]) -> int:
        """How many trials a bracket will have."""
        return _brackets(self).count(bracket)


@lru_cache(maxsize=8)
def _brackets(schedule: Schedule) -> tuple[tuple[int, int], ...]:
    """The bracket of each trial: round after round, a bracket at a time."""
    halving, n = schedule.halving, schedule.n_trials
    if halving is None or halving.brackets == 1:
        return ((0, 0),) * n
    sizes = bracket_sizes(halving, schedule.epochs)
    places = [b for b, size in enumerate(sizes) for _ in range(size)]
    return tuple((number // len(places), places[number % len(places)]) for number in range(n))


def all_rungs(halving: Halving | None, epochs: int) -> tuple[int, ...]:
    """Epochs at which trials are compared; the last is the most that any is trained."""
    if halving is None:
        return (epochs,)
    most = min(epochs, halving.max_epochs or epochs)
    rungs, at = [], halving.min_epochs
    while at < most:
        rungs.append(at)
        at *= halving.eta
    return (*rungs, most)


def bracket_sizes(halving: Halving, epochs: int) -> list[int]:
    """Trials of each bracket in a round of Hyperband: ⌊(s + 1) / (s' + 1)⌋ · eta^s', s' falling from s to 0.

    With R = 81, min 1 and eta 3: 81, 27, 9, 6, 5, as in the paper's table 1.
    """
    most = len(all_rungs(halving, epochs)) - 1
    count = min(halving.brackets, most + 1)
    return [(most + 1) // (s + 1) * halving.eta**s for s in range(most, most - count, -1)]


def ready(schedule: Schedule, standings: Sequence[Standing]) -> list[Work]:
    """What may be begun now, the most advanced first; what another worker is at is in it too.

    `standings` are those of the trials that are known, in order of their numbers. Empty: wait for others, or the end.
    """
    works: list[Work] = []
    for bracket in dict.fromkeys(schedule.bracket(standing.number) for standing in standings):
        works += _ready_in(schedule, bracket, _group(schedule, bracket, standings))
    return sorted(works, key=lambda work: (-work.rung, work.number) if _is_async(schedule) else (work.number,))


def survivors(schedule: Schedule, standings: Sequence[Standing]) -> set[int]:
    """Numbers of those that are not, or not yet, left behind."""
    left = {standing.number for standing in standings}
    for bracket in dict.fromkeys(schedule.bracket(standing.number) for standing in standings):
        group = _group(schedule, bracket, standings)
        for rung in range(1, len(schedule.rungs(bracket[1]))):
            above = promoted(schedule, bracket, group, rung)
            if above is not None:
                left -= {s.number for s in group} - above
    return left


def is_over(schedule: Schedule, standings: Sequence[Standing]) -> bool:
    """Whether all is done: every trial is known, and nothing is left to train."""
    return len(standings) == schedule.n_trials and not ready(schedule, standings)


def promoted(schedule: Schedule, bracket: tuple[int, int], group: Sequence[Standing], rung: int) -> set[int] | None:
    """Who is, or may be, on a rung of a bracket; None where that is not decided yet. Ties go to the lower number."""
    if rung == 0:
        return {standing.number for standing in group}
    eta = schedule.halving.eta if schedule.halving else 1
    if _is_async(schedule):
        below = [s for s in group if s.score(rung - 1) is not None]
        return _best(below, rung - 1, len(below) // eta or int(_all_there(schedule, bracket, group, rung)))
    size = max(1, schedule.size(bracket) // eta**rung)
    on_rung = promoted(schedule, bracket, group, rung - 1)
    if on_rung is None or len(group) < schedule.size(bracket):
        return None
    below = [s for s in group if s.number in on_rung]
    return _best(below, rung - 1, size) if all(s.score(rung - 1) is not None for s in below) else None


def _all_there(schedule: Schedule, bracket: tuple[int, int], group: Sequence[Standing], rung: int) -> bool:
    """Whether nobody else can come to the rung below: then its best goes on even where there are fewer than eta."""
    if len(group) < schedule.size(bracket):
        return False
    below = promoted(schedule, bracket, group, rung - 1) or set()
    return all(s.score(rung - 1) is not None for s in group if s.number in below) and (
        rung == 1 or _all_there(schedule, bracket, group, rung - 1)
    )


def _group(schedule: Schedule, bracket: tuple[int, int], standings: Sequence[Standing]) -> list[Standing]:
    return [standing for standing in standings if schedule.bracket(standing.number) == bracket]


def _best(standings: Sequence[Standing], rung: int, count: int) -> set[int]:
    ranked = sorted(standings, key=lambda s: (-(s.score(rung) or 0.0), s.number))
    return {standing.number for standing in ranked[:count]}


def _ready_in(schedule: Schedule, bracket: tuple[int, int], group: Sequence[Standing]) -> list[Work]:
    works, rungs = [], schedule.rungs(bracket[1])
    for rung, epochs in enumerate(rungs):
        on_rung = promoted(schedule, bracket, group, rung) or set()
        works += [
            Work(s.number, rung + bracket[1], epochs)
            for s in group
            if s.number in on_rung and len(s.scores) == rung and not s.over
        ]
    return works


def _is_async(schedule: Schedule) -> bool:
    return schedule.halving is not None and schedule.halving.asynchronous
