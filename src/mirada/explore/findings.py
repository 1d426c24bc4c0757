"""What stands out, in sentences: the first thing a person should read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mirada.explore.copies import Copies
from mirada.explore.summary import Summary
from mirada.messages import Message, msg, msg_n

Weight = Literal["good", "note", "warning"]
_MANY_GREY = 0.02
_BORDER_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence and how much it matters."""

    weight: Weight
    message: Message


def findings(summary: Summary) -> tuple[Finding, ...]:
    """What stands out, what matters most first."""
    found = [*_labels(summary), *_copies(summary.copies), *_rejected(summary), *_pixels(summary)]
    order = {"warning": 0, "note": 1, "good": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.weight]))


def _labels(summary: Summary) -> list[Finding]:
    found = []
    if summary.balance is not None:
        level = summary.balance.level
        weight: Weight = "good" if level == "balanced" else "note" if level == "mild" else "warning"
        found.append(Finding(weight, summary.balance.messages()[0]))
        if summary.balance.few:
            found.append(Finding("warning", summary.balance.messages()[-1]))
    if summary.n_unlabelled:
        found.append(
            Finding(
                "note",
                msg_n(
                    "{n} photograph has no label: `mirada suggest` says which to label first.",
                    "{n} photographs have no label: `mirada suggest` says which to label first.",
                    n=summary.n_unlabelled,
                ),
            )
        )
    return found


def _copies(copies: Copies) -> list[Finding]:
    found = []
    exact, near, leakage = copies.exact, copies.near, copies.leakage
    if leakage is not None and leakage.n_groups:
        found.append(
            Finding(
                "warning",
                msg_n(
                    "{n} group of copies crosses train, val and test: {test} of the test photographs have a copy in "
                    "train or val, {val} of val one in train. Scores on them say nothing.",
                    "{n} groups of copies cross train, val and test: {test} of the test photographs have a copy in "
                    "train or val, {val} of val one in train. Scores on them say nothing.",
                    n=leakage.n_groups, test=leakage.n_test, val=leakage.n_val,
                ),
            )
        )  # fmt: skip
    elif leakage is not None:
        found.append(Finding("good", msg("No known copy crosses train, val and test.")))
    found.append(_exact(exact.n_groups, exact.n_extra))
    if exact.n_conflicts:
        found.append(
            Finding(
                "warning",
                msg_n(
                    "{n} photograph is there under several labels, with the same bytes.",
                    "{n} photographs are there under several labels, with the same bytes.",
                    n=exact.n_conflicts,
                ),
            )
        )
    if near is None:
        found.append(Finding("note", msg("Near duplicates were not looked for yet: `mirada clean` finds them.")))
    else:
        found.append(_near(near.n_groups, near.n_photos))
    return found


def _exact(n_groups: int, n_extra: int) -> Finding:
    if not n_groups:
        return Finding("good", msg("No photograph is there twice with the same bytes."))
    return Finding(
        "note",
        msg_n(
            "{n} photograph is there more than once with the same bytes; without the copies there are {extra} fewer.",
            "{n} photographs are there more than once with the same bytes; without the copies there are {extra} fewer.",
            n=n_groups, extra=n_extra,
        ),
    )  # fmt: skip


def _near(n_groups: int, n_photos: int) -> Finding:
    if not n_groups:
        return Finding("good", msg("No near duplicates are known."))
    return Finding(
        "note",
        msg_n(
            "{n} group of near duplicates holds {photos} photographs.",
            "{n} groups of near duplicates hold {photos} photographs.",
            n=n_groups, photos=n_photos,
        ),
    )  # fmt: skip


def _rejected(summary: Summary) -> list[Finding]:
    if not summary.n_rejected:
        return []
    return [
        Finding(
            "warning",
            msg_n(
                "{n} file could not be read and is left out.",
                "{n} files could not be read and are left out.",
                n=summary.n_rejected,
            ),
        )
    ]


def _pixels(summary: Summary) -> list[Finding]:
    found = []
    whole = summary.all
    if whole.n_grey:
        weight: Weight = "note" if whole.n_grey >= _MANY_GREY * whole.n else "good"
        found.append(
            Finding(
                weight,
                msg(
                    "Truly grey photographs, whatever channels their files have: {n} ({share:.1f} %).",
                    n=whole.n_grey,
                    share=100 * whole.n_grey / whole.n,
                ),
            )
        )
    border = whole.statistics.get("border")
    if border is not None and border.p95 > _BORDER_SHARE:
        found.append(Finding("note", msg("At least one photograph in twenty stands in a plain border.")))
    return found
