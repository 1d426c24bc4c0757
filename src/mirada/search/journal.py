"""What a search has done, on disk: Optuna's journal in a folder that several processes may share.

Every change is one line, flushed, under a lock that the system frees when its holder is killed; a line that a kill
tore is cut off by the next writer. Who is at work on a trial holds the lock of the trial's folder, so that nothing
has to be guessed from times: a trial that began and is held by nobody is taken up again where it paused.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from mirada.errors import UsageError
from mirada.messages import msg
from mirada.search.halving import Standing
from mirada.search.sampling import Params, decoded, distributions, encoded
from mirada.search.space import Space, Value
from mirada.search.trial import Progressed
from mirada.workspace import storage_errors

NAME = "journal.log"
STUDY = "search"


@dataclass(frozen=True, slots=True)
class Entry:
    """A trial in the journal: its point, and what it had reached at each rung. finished: nothing more will come."""

    number: int
    params: dict[str, Value]
    rungs: tuple[Progressed, ...]
    finished: bool

    @property
    def latest(self) -> Progressed | None:
        """Where it stands; None: it has not reached its first rung."""
        return self.rungs[-1] if self.rungs else None

    def standing(self, sign: float) -> Standing:
        """As `halving` sees it; `sign` is -1 for a metric that falls."""
        scores = tuple(float("-inf") if rung.diverged else sign * rung.value for rung in self.rungs)
        return Standing(self.number, scores, bool(self.rungs) and self.rungs[-1].over)


class Journal:
    """The journal in `folder`, made where it is missing.

    Raises UsageError where it is another search's: of another space (`Space.mark`) or of other photographs (`data`).
    """

    def __init__(self, folder: Path, space: Space, *, data: str) -> None:
        self.folder, self.space = folder, space
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / NAME
            self._lock = _FileLock(path)
            with self.locked():
                self._storage = JournalStorage(JournalFileBackend(str(path), lock_obj=self._lock))
                self._study = self._open({"space": space.mark, "data": data})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all processes: to look, decide and write as one."""
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def entries(self) -> list[Entry]:
        """All trials, in order of their numbers."""
        trials = self._storage.get_all_trials(self._study, deepcopy=False)
        return [self._entry(trial) for trial in sorted(trials, key=lambda trial: trial.number)]

    def add(self, params: Params) -> Entry:
        """A new trial, in one line."""
        with storage_errors(self.folder):
            template = create_trial(
                state=TrialState.RUNNING, params=encoded(params), distributions=distributions(self.space)
            )
            trial_id = self._storage.create_new_trial(self._study, template_trial=template)
        return self._entry(self._storage.get_trial(trial_id))

    def record(self, number: int, progressed: Progressed) -> None:
        """A trial has reached its next rung."""
        entry = self.entries()[number]
        with storage_errors(self.folder):
            trial_id = self._id(number)
            self._storage.set_trial_user_attr(trial_id, f"rung:{len(entry.rungs)}", asdict(progressed))
            self._storage.set_trial_intermediate_value(trial_id, progressed.epochs, progressed.value)

    def finish(self, number: int, *, value: float, complete: bool) -> None:
        """Nothing more will come of a trial."""
        with storage_errors(self.folder):
            state = TrialState.COMPLETE if complete else TrialState.PRUNED
            self._storage.set_trial_state_values(self._id(number), state, [value])

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps its state and answers."""
        return self.folder / "trials" / f"{number:04d}"

    def claim(self, number: int) -> IO[str] | None:
        """Hold a trial until the handle is closed (or the process ends); None where another one holds it."""
        with storage_errors(self.folder):
            folder = self.trial_folder(number)
            folder.mkdir(parents=True, exist_ok=True)
            handle = (folder / ".lock").open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            return None
        return handle

    def _open(self, about: dict[str, str]) -> int:
        for study in self._storage.get_all_studies():
            if study.study_name == STUDY and study.user_attrs.get("about") == about:
                return int(study._study_id)
            if study.study_name == STUDY and "about" in study.user_attrs:
                raise UsageError(
                    msg("{folder} holds the search of another space, or on other photographs.", folder=self.folder),
                    msg("Give this one a folder of its own, or remove that one."),
                )
        if not any(study.study_name == STUDY for study in self._storage.get_all_studies()):
            rises = self.space.metric == "val_accuracy"
            direction = StudyDirection.MAXIMIZE if rises else StudyDirection.MINIMIZE
            self._storage.create_new_study([direction], STUDY)
        study_id = int(self._storage.get_study_id_from_name(STUDY))
        self._storage.set_study_user_attr(study_id, "about", about)
        return study_id

    def _id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study, number))

    def _entry(self, trial: FrozenTrial) -> Entry:
        rungs = [trial.user_attrs[f"rung:{i}"] for i in range(len(trial.user_attrs)) if f"rung:{i}" in trial.user_attrs]
        made = tuple(Progressed(**{**rung, "values": tuple(rung["values"])}) for rung in rungs)
        return Entry(trial.number, decoded(self.space, trial.params), made, trial.state.is_finished())


def standings(entries: Sequence[Entry], space: Space) -> list[Standing]:
    """All trials as `halving` sees them."""
    sign = 1.0 if space.metric == "val_accuracy" else -1.0
    return [entry.standing(sign) for entry in entries]


class _FileLock(BaseJournalFileLock):
    """flock beside the journal, which may be taken again by its holder; it cuts off what a killed writer left torn."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._depth = journal, 0
        self._handle: IO[str] | None = None

    def acquire(self) -> bool:
        """Wait for it."""
        if self._handle is None:
            self._handle = self._journal.with_suffix(".lock").open("a")
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            _mend(self._journal)
        self._depth += 1
        return True

    def release(self) -> None:
        """Let the next one in."""
        self._depth -= 1
        if self._depth == 0 and self._handle is not None:
            self._handle.close()
            self._handle = None


def _mend(journal: Path) -> None:
    """Cut a last line that is not whole: its writer was killed, or the disk was full."""
    if not journal.is_file():
        return
    with journal.open("r+b") as handle:
        data = handle.read()
        whole = data.rfind(b"\n") + 1
        last = data[data.rfind(b"\n", 0, max(0, whole - 1)) + 1 : whole]
        if last and not _is_json(last):
            whole -= len(last)
        if whole < len(data):
            handle.truncate(whole)


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
