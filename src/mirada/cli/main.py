"""``mirada``: finds the command, loads only its module, and turns every failure into a sentence."""

from __future__ import annotations

import gettext
import importlib
import json
import os
import sys
from pathlib import Path

import click

from mirada import __version__
from mirada.cli.output import Settings, printable
from mirada.errors import MiradaError, UsageError
from mirada.messages import LOCALE_PATH, Message, locale_language, msg

# name: (where the command is, what it does); in the order of the work.
COMMANDS: dict[str, tuple[str, Message]] = {
    "demo": ("mirada.cli.demo:demo", msg("Run the main job on a rendered sample set.")),
    "add": ("mirada.cli.data:add", msg("Add photographs to the catalogue.")),
    "explore": ("mirada.cli.exploring:explore", msg("See what you have: numbers, a map, a page that stands alone.")),
    "clean": ("mirada.cli.cleaning:clean", msg("Find duplicates, wrong labels, outliers and poor photographs.")),
    "issues": ("mirada.cli.deciding:issues", msg("List what the checks found, the worst first.")),
    "decide": ("mirada.cli.deciding:decide", msg("Decide on issues: keep, drop, ambiguous, or another label.")),
    "undo": ("mirada.cli.deciding:undo", msg("Take back the last decisions.")),
    "history": ("mirada.cli.deciding:history", msg("Tell what each step of cleaning did to each class.")),
    "suggest": ("mirada.cli.suggesting:suggest", msg("Say which photographs to label next.")),
    "subset": ("mirada.cli.subsetting:subset", msg("Name a part of the photographs, and export it.")),
    "split": ("mirada.cli.data:split", msg("Divide the photographs into train, val and test.")),
    "train": ("mirada.cli.training:train", msg("From photographs to a classifier, in one go.")),
    "recipes": ("mirada.cli.recipes:recipes", msg("List the recipes for training.")),
    "search": ("mirada.cli.searching:search", msg("Try many ways to train, and say which is best.")),
    "evaluate": ("mirada.cli.training:evaluate", msg("Say how good a model is.")),
    "predict": ("mirada.cli.predicting:predict", msg("Classify photographs.")),
    "export": ("mirada.cli.exporting:export", msg("Write a model as ONNX or OpenVINO, or make it int8.")),
    "serve": ("mirada.cli.serving:serve", msg("Answer over HTTP, with a page to upload photographs.")),
    "runs": ("mirada.cli.training:runs", msg("List the runs.")),
    "compare": ("mirada.cli.training:compare", msg("Compare two runs on the same photographs.")),
    "models": ("mirada.cli.models:models", msg("List the model versions.")),
    "promote": ("mirada.cli.models:promote", msg("Give a model version an alias, such as champion.")),
    "rollback": ("mirada.cli.models:rollback", msg("Take back the last promotion.")),
    "distill": ("mirada.cli.distilling:distill", msg("Make a small backbone from big ones.")),
    "track": ("mirada.cli.models:track", msg("Bring the MLflow mirror up to date.")),
    "doctor": ("mirada.cli.doctor:doctor", msg("Say what this machine offers and which extras are installed.")),
}


class LazyGroup(click.Group):
    """Commands by dotted name, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return it."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with near misses taken from the names alone."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.exceptions.NoSuchCommand(name, possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one."""
        with formatter.section(str(msg("Commands"))):
            formatter.write_dl([(name, str(text)) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    help=str(msg("Mirada: from a pile of photographs to a classifier that can be trusted, served and kept honest.")),
    epilog=str(msg("Example: mirada train photos/")),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--workspace",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help=str(msg("Folder of the project; default: the nearest parent with mirada.toml, else ./mirada.")),
)
@click.version_option(
    __version__, prog_name="mirada", message="%(prog)s %(version)s", help=str(msg("Show the version and exit."))
)
@click.pass_context
def cli(ctx: click.Context, workspace: Path | None) -> None:
    """Keep what stands before the command."""
    ctx.obj = Settings(workspace_path=workspace)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(argv: list[str]) -> int:
    """Run one command line; returns the exit status (0 done, 1 failed, 2 wrong usage, 130 interrupted)."""
    _speak_the_language()
    try:
        cli.main(args=argv, prog_name="mirada", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.UsageError as error:
        return _fail(_from_click(error), argv)
    except (click.Abort, KeyboardInterrupt):
        click.echo(str(msg("Interrupted. Nothing is half-written; run the same command again to go on.")), err=True)
        return 130
    except MiradaError as error:
        return _fail(error, argv)
    except BrokenPipeError:
        # The reader of a pipe went away (`mirada runs | head`): not a failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def _speak_the_language() -> None:
    """Click takes its own words from the process's gettext domain; give it ours."""
    os.environ["LANGUAGE"] = locale_language()
    gettext.bindtextdomain("mirada", LOCALE_PATH)
    gettext.textdomain("mirada")


def _from_click(error: click.UsageError) -> UsageError:
    help_command = error.ctx.command_path if error.ctx else "mirada"
    near = getattr(error, "possibilities", None)
    hint = msg("Did you mean {name}?", name=near[0]) if near else msg("See `{command} --help`.", command=help_command)
    if isinstance(error, click.exceptions.NoSuchOption):
        return UsageError(msg("{command} has no option {name}.", command=help_command, name=error.option_name), hint)
    if isinstance(error, click.exceptions.NoSuchCommand):
        return UsageError(msg("Mirada has no command {name}.", name=error.command_name), hint)
    return UsageError(Message("{text}", {"text": error.format_message()}), hint)


def _fail(error: MiradaError, argv: list[str]) -> int:
    if "--json" in argv:
        sys.stdout.write(json.dumps(error.to_json(), ensure_ascii=False) + "\n")
    click.echo(printable(str(msg("Error: {text}", text=error.message))), err=True)
    if error.hint is not None:
        click.echo(printable(str(error.hint)), err=True)
    return error.exit_status
