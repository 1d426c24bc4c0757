"""The report of a training or an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mirada.messages import Message
from mirada.types import Bundle, EvalReport


def write_report(
    path: Path, report: EvalReport, bundle: Bundle, *, notes: Iterable[Message], rejected: Sequence[tuple[str, str]]
) -> Path:
    path.write_text(repr(report))
    return path
