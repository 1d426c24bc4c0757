"""One self-contained page of what the checks found: the worst of each, with the other photograph of a pair beside it.

It runs no script and loads nothing; its Content-Security-Policy allows its own style sheet, by hash, and pictures
that are part of the page.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mirada.messages import Message, current_language, decimal, msg, msg_n, use_language

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Card:
    """One issue: its number, the file's name and label, what speaks for it, and the id of the photograph beside it."""

    issue_id: int
    sample_id: str
    name: str
    label: str | None
    score: float
    reason: Message | None = None
    beside: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A check with the number of its issues and the worst of them."""

    name: str
    title: Message
    n_issues: int
    cards: Sequence[Card]
    notes: Sequence[Message] = ()


@dataclass(frozen=True, slots=True)
class IssuePage:
    """What the page shows. thumbnails: encoded WebP by sample id."""

    n_samples: int
    n_rejected: int
    seconds: float
    sections: Sequence[Section]
    notes: Sequence[Message] = ()
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)


def render(page: IssuePage, *, language: str | None = None) -> str:
    """The page as text, in `language` ("en", "es"; None: the one in force)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    with use_language(language or current_language()):
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        style = (TEMPLATES / "issues.css").read_text(encoding="utf-8")
        return environment.get_template("issues.html").render(
            page=page,
            style=style,
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            language=current_language(),
            text=_texts(page),
            pictures={key: base64.b64encode(data).decode() for key, data in page.thumbnails.items()},
            decimal=decimal,
            shown=_shown,
        )


def _texts(page: IssuePage) -> dict[str, Message]:
    return {
        "title": msg("What the checks found"),
        "lead": msg_n(
            "{n} photograph looked at, {rejected} unreadable. The worst of each check are below; nothing was changed.",
            "{n} photographs looked at, {rejected} unreadable. The worst of each check are below; nothing was changed.",
            n=page.n_samples, rejected=page.n_rejected,
        ),
        "check": msg("check"),
        "issues": msg("issues"),
        "finds": msg("what it finds"),
        "nothing": msg("Nothing was found."),
        "score": msg("score"),
        "no_label": msg("(no label)"),
        "no_picture": msg("no picture"),
        "decide": msg("Decide with the number: mirada decide NUMBER drop, keep, ambiguous or relabel=CLASS."),
    }  # fmt: skip


def _shown(section: Section) -> Message | None:
    if len(section.cards) >= section.n_issues:
        return None
    return msg(
        "The worst {n} of {total}; all: mirada issues --check {name}",
        n=len(section.cards), total=section.n_issues, name=section.name,
    )  # fmt: skip
