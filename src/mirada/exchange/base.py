"""What people are handed to decide on, and what they hand back, whatever the file it travels in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

from mirada.errors import InputError, MiradaError
from mirada.messages import Message, msg
from mirada.types import Action

ACTIONS: tuple[str, ...] = get_args(Action)
_SUGGESTED = ("suggested", "suggested_label")
_SURE = ("p_suggested", "probability")
ALLOWED = "keep, drop, ambiguous, restore, relabel=CLASS"


@dataclass(frozen=True, slots=True)
class Finding:
    """An issue as people and programs see it. `label`: the class it has now; score 0 (worst) to 1."""

    issue_id: int
    check: str
    sample_id: str
    uri: str
    label: str | None
    score: float
    evidence: Mapping[str, object]
    is_open: bool = True
    split: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody wants decided: on an issue, or on a photograph as a whole.

    With both keys the issue must be of that photograph. `check`: what it is decided for, where no issue says so.
    A relabel to the class that holds anyway is a keep. `where`: the line or task it comes from, for sentences.
    """

    action: Action
    new: str | None = None
    issue_id: int | None = None
    sample_id: str | None = None
    check: str | None = None
    by: str = ""
    why: str = ""
    where: Message | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A choice that cannot be carried out, and why. `where`: the line or task, where there is one."""

    error: MiradaError
    where: Message | None = None

    @property
    def message(self) -> Message:
        """The sentence, with its place before it."""
        if self.where is None:
            return self.error.message
        return Message("{where}: {text}", {"where": self.where, "text": self.error.message})


@dataclass(frozen=True, slots=True)
class Handed:
    """What a file of decisions says. n_undecided: rows and tasks without an answer; notes: what has to be told."""

    choices: tuple[Choice, ...]
    refused: tuple[Refusal, ...] = ()
    n_undecided: int = 0
    notes: tuple[Message, ...] = field(default=())


def parse_action(text: str) -> tuple[Action, str | None]:
    """("relabel", "Pizza") of "relabel=Pizza"; the other actions have no second part. Raises InputError."""
    word, sign, new = (part.strip() for part in text.strip().partition("="))
    action = word.lower()
    if action not in ACTIONS or (sign and action != "relabel"):
        raise InputError(
            msg("A decision must be one of {allowed}; got {given!r}.", allowed=ALLOWED, given=text.strip())
        )
    if action == "relabel" and not new:
        raise InputError(
            msg("relabel must name the class: relabel=CLASS; got {given!r}.", given=text.strip()),
        )
    return action, new or None  # type: ignore[return-value]


def told(answer: tuple[str, str | None]) -> str:
    """A decision as it is written: "relabel=Pizza"."""
    action, new = answer
    return f"{action}={new}" if action == "relabel" else action


def suggestion(evidence: Mapping[str, object]) -> tuple[str | None, float | None]:
    """The class that a check proposes instead, and how sure it is (0–1); None where it says nothing."""
    label = next((evidence[key] for key in _SUGGESTED if isinstance(evidence.get(key), str)), None)
    sure = next((evidence[key] for key in _SURE if isinstance(evidence.get(key), int | float)), None)
    return (str(label) if label else None), (float(str(sure)) if sure is not None else None)
