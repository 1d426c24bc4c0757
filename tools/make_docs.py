"""Write docs/commands.md, docs/settings.md and docs/errors.md from the code.

    .venv/bin/python tools/make_docs.py [--check]

With --check nothing is written, and a page that differs from the code is an error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

os.environ["MIRADA_LANG"] = "en"

from mirada import errors  # the language is chosen first: help texts are rendered at import
from mirada.cli.main import COMMANDS, cli
from mirada.config import SETTINGS

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- Made from the code by `make docs`; do not edit. -->\n"


def commands() -> Iterator[str]:
    """The help page of every command."""
    yield f"{MADE}\n# Commands\n"
    shape = {"max_content_width": 100, "terminal_width": 100, "help_option_names": ["-h", "--help"]}
    context = click.Context(cli, info_name="mirada", **shape)
    yield f"```text\n{cli.get_help(context)}\n```\n"
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command is None:
            raise LookupError(name)
        inner = click.Context(command, info_name=name, parent=context, **shape)
        yield f"## mirada {name}\n\n```text\n{command.get_help(inner)}\n```\n"


def settings() -> Iterator[str]:
    """The table of settings."""
    yield f"{MADE}\n# Settings\n\nRead from `mirada.toml`, then the environment, then flags.\n"
    yield "| setting | environment | default | what it is |\n|---|---|---|---|"
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default != "" else "(empty)"
        yield f"| `{setting.name}` | `{setting.env}` | {default} | {setting.help} |"


def error_codes() -> Iterator[str]:
    """The table of errors."""
    yield f"{MADE}\n# Errors\n\nEvery failure is a sentence, a hint, and a code; over HTTP"
    yield 'and with `--json` it is `{"error": {"code", "message", "hint"}}`.\n'
    yield "| code | HTTP status | exit status | meaning |\n|---|---|---|---|"
    for name in errors.__all__:
        kind = getattr(errors, name)
        meaning = " ".join((kind.__doc__ or "").split())
        yield f"| `{kind.code}` | {kind.http_status} | {kind.exit_status} | {meaning} |"


PAGES = {"commands.md": commands, "settings.md": settings, "errors.md": error_codes}


def main() -> int:
    """Write the pages, or compare them."""
    wrong = 0
    for name, make in PAGES.items():
        text = "\n".join(make()).rstrip() + "\n"
        path = DOCS / name
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            print(f"{path} differs from the code: run `make docs`")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
