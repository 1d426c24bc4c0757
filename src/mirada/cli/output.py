"""How the command line speaks: one JSON document or plain text on stdout, everything else on stderr."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from mirada.engine.base import Progress
from mirada.messages import Message, current_language, decimal, msg
from mirada.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Result:
    """What a command has to say: `document` for programs, `lines` for people."""

    document: object
    lines: Sequence[str | Message] = field(default_factory=tuple)

    def show(self, *, as_json: bool) -> None:
        """Print the document or the lines."""
        if as_json:
            print_json(self.document)
        else:
            for line in self.lines:
                click.echo(printable(str(line)))


@dataclass
class Settings:
    """What stands before the command: ``mirada --workspace DIR COMMAND``."""

    workspace_path: Path | None = None

    def open(self) -> Workspace:
        """The existing workspace."""
        return Workspace.open(self.workspace_path)

    def create(self) -> Workspace:
        """The workspace, made where it is missing."""
        return Workspace.create(self.workspace_path)


def json_option(function: F) -> F:
    """``--json`` alone, for a command that prints by itself."""
    text = str(msg("Print one JSON document on standard output."))
    return click.option("--json", "as_json", is_flag=True, help=text)(function)


def speaks(function: Callable[..., Result | None]) -> Callable[..., None]:
    """Give a command ``--json`` and print what it returns."""

    @json_option
    @functools.wraps(function)
    def wrapper(*args: Any, as_json: bool, **kwargs: Any) -> None:
        result = function(*args, **kwargs)
        if result is not None:
            result.show(as_json=as_json)

    return wrapper


def given_beside(name: str) -> list[str]:
    """What else was given to the command that runs, as a person writes it; how it answers (--json) does not count."""
    ctx = click.get_current_context()
    return [
        param.opts[0] if isinstance(param, click.Option) else str(param.human_readable_name)
        for param in ctx.command.params
        if param.name not in (None, name, "as_json")
        and ctx.get_parameter_source(str(param.name)) is click.core.ParameterSource.COMMANDLINE
    ]


def print_json(document: object) -> None:
    """One JSON document on stdout; NaN is not JSON and raises."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False, default=str) + "\n")


def printable(text: str) -> str:
    """`text` as the terminal can show it: a file name may hold control characters or odd bytes."""
    clean = "".join(c if c in "\n\t\u202f" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    encoding = sys.stdout.encoding or "utf-8"
    return clean.encode(encoding, "backslashreplace").decode(encoding)


def table(head: Sequence[str | Message], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of a plain table: the first column to the left, numbers to the right."""
    cells = [[str(cell) for cell in head]] + [[_cell(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(head))]
    lines = ["  ".join(_pad(row[i], widths[i], right=right[i]) for i in range(len(head))).rstrip() for row in cells]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        # A point between thousands would be read as a decimal sign by half of the readers: a narrow space is not.
        return f"{value:,}".replace(",", "\u202f" if current_language() == "es" else ",")
    return str(value).replace("\n", "⏎")


def _pad(text: str, width: int, *, right: bool) -> str:
    return text.rjust(width) if right else text.ljust(width)


def per_cent(value: float) -> str:
    """0.9333 → "93.3 %", or "93,3 %" in Spanish."""
    return f"{decimal(100 * value)} %"


class TerminalProgress:
    """A bar with rate and time left on stderr; quiet where stderr is no terminal."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, label: Message, total: int | None = None) -> None:
        """Begin a bar of `total` steps."""
        from tqdm import tqdm

        self.finish()
        self._bar = tqdm(total=total, desc=str(label), file=sys.stderr, leave=False, disable=None, unit="", ncols=88)

    def advance(self, n: int = 1) -> None:
        """`n` more steps are done."""
        if self._bar is not None:
            self._bar.update(n)

    def finish(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def note(self, message: Message) -> None:
        """A line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.clear()
        click.echo(printable(str(message)), err=True)


def progress() -> Progress:
    """The display for long work on this terminal."""
    return TerminalProgress()
