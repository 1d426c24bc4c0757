"""The check `corrupt`: files that are there and are no photographs that can be read whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mirada.clean.base import Evidence, Material, Need, Refused, Scores, register
from mirada.imaging.decode import REASONS
from mirada.intake import sample_id
from mirada.messages import Message, msg, msg_n
from mirada.types import Rejected

# Of these nobody knows whether they are damaged: the bytes were not seen, or not all at once.
NOT_SEEN = frozenset({"missing", "no_permission", "changed"})


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Every rejected photograph, but for those whose file is missing or forbidden."""

    name: str = "corrupt"
    title: Message = field(default_factory=lambda: msg("Damaged, or no photograph at all"))
    needs: frozenset[Need] = frozenset({"rejected"})
    threshold: float = 0.5

    def run(self, material: Material) -> Scores:
        """1 for every sample, since it was read; an issue of score 0 for every damaged file."""
        damaged = [rejected for rejected in material.rejected if rejected.reason not in NOT_SEEN]
        others = [rejected for rejected in material.rejected if rejected.reason in NOT_SEEN]
        return Scores(
            values=np.ones(len(material.samples), np.float32),
            evidence=_nothing,
            refused=tuple(_refused(rejected) for rejected in damaged),
            notes=_notes(others),
        )


def register_corrupt() -> None:
    """Register the check `corrupt`."""
    register(Corrupt())


def _refused(rejected: Rejected) -> Refused:
    evidence = {"reason": rejected.reason, "detail": rejected.detail, "uri": rejected.uri}
    return Refused(sample_id(rejected.source, rejected.uri), 0.0, evidence)


def _notes(others: list[Rejected]) -> tuple[Message, ...]:
    if not others:
        return ()
    return (
        msg_n(
            "{n} photograph could not be looked at, which does not make it corrupt: {uri} ({reason})",
            "{n} photographs could not be looked at, which does not make them corrupt, such as {uri} ({reason})",
            n=len(others), uri=others[0].uri, reason=REASONS[others[0].reason],
        ),
    )  # fmt: skip


def _nothing(row: int) -> Evidence:  # noqa: ARG001 - the contract's form
    return {}
