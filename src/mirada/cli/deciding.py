"""``mirada issues``, ``decide``, ``undo`` and ``history``."""

from __future__ import annotations

import difflib
import getpass
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mirada.cli.output import Result, Settings, speaks, table
from mirada.errors import InputError, NotFound, UsageError
from mirada.messages import Message, decimal, msg, msg_n

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog
    from mirada.exchange.base import Finding
    from mirada.exchange.deciding import Outcome
    from mirada.types import Action
    from mirada.workflow.handed import Gathered

MOST_SHOWN = 20
_RANGE = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")
_MOST_IN_RANGE = 1_000_000


@click.command(
    help=str(msg("List what the checks found, the worst first; or write it to a file to decide on.")),
    epilog=str(msg("Example: mirada issues --check label -o labels.csv")),
)
@click.option("--check", metavar="NAME", help=str(msg("Only what this check found.")))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help=str(msg("At most so many.")))
@click.option("--after", type=int, metavar="ISSUE", help=str(msg("Go on after this issue of the same check.")))
@click.option("--all", "with_decided", is_flag=True, help=str(msg("Also what is decided already.")))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help=str(msg("Write a CSV or JSON file instead, with a column for your decisions.")))  # fmt: skip
@click.option("--format", "fmt", type=click.Choice(["csv", "json", "label-studio"]),
              help=str(msg("Format of the file; default: by its name.")))  # fmt: skip
@click.pass_obj
@speaks
def issues(
    settings: Settings, *, check: str | None, limit: int | None, after: int | None, with_decided: bool,
    output: Path | None, fmt: str | None,
) -> Result:  # fmt: skip
    """The queues of the checks."""
    from mirada.catalog.catalog import Catalog
    from mirada.exchange.tables import document
    from mirada.workflow.deciding import findings, write_file

    if fmt is not None and output is None:
        raise UsageError(msg("--format is the format of a file: name it with -o FILE."))
    with Catalog.open(settings.open().catalog_url) as catalog:
        _known_check(catalog, check)
        found = findings(catalog, check, after=after, limit=limit, open_only=not with_decided)
        if output is not None:
            n, notes = write_file(catalog, found, output, fmt)  # type: ignore[arg-type]
            told = msg_n("{n} issue written to {path}.", "{n} issues written to {path}.", n=n, path=output)
            return Result({"n": n, "path": str(output), "notes": [str(note) for note in notes]}, [told, *notes])
        if check is None and after is None:
            return Result([document(one) for one in found] if _as_json() else [], _overview(catalog))
        if _as_json():
            return Result([document(one) for one in found])
        from itertools import islice

        most = limit or MOST_SHOWN
        return Result([], _queue_lines(catalog, check, list(islice(found, most)), most))


def _as_json() -> bool:
    """Whether the caller wants JSON: a list of all issues is not made for a person who gets twenty."""
    return bool(click.get_current_context().params.get("as_json"))


def _known_check(catalog: Catalog, check: str | None) -> None:
    known = catalog.issue_counts()
    if check is None or check in known:
        return
    from mirada.clean.base import checks
    from mirada.clean.builtin import register_builtin

    register_builtin()
    checks([check])  # raises for a name that no check has; one that found nothing is fine


def _overview(catalog: Catalog) -> list[str | Message]:
    counts = catalog.issue_counts()
    if not counts:
        return [msg("No check has found anything yet: `mirada clean` looks.")]
    rows = [[name, n.n_open, n.n_decided] for name, n in counts.items()]
    head = [msg("check"), msg("open"), msg("decided")]
    return [*table(head, rows), "", msg("`mirada issues --check NAME` lists one, the worst first.")]


def _queue_lines(catalog: Catalog, check: str | None, shown: Sequence[Finding], limit: int) -> list[str | Message]:
    if not shown:
        return [msg("Nothing is open here.")]
    from mirada.exchange.evidence import because
    from mirada.sources.uris import uri_name

    check = check or shown[0].check
    head = [msg("issue"), msg("score"), msg("label"), msg("split"), msg("photograph"), msg("why")]
    rows = [  # an id without a sign between thousands: `decide 1,044` would be issues 1 and 44
        [str(one.issue_id), decimal(one.score, 3), one.label, one.split, uri_name(one.uri), because(one)]
        for one in shown
    ]
    told = [i for i in range(len(head)) if any(row[i] is not None for row in rows)]
    head, rows = [head[i] for i in told], [[row[i] for i in told] for row in rows]
    n_open = catalog.issue_counts()[check].n_open
    lines: list[str | Message] = [*table(head, rows), "", msg("{shown} shown, {n} open.", shown=len(shown), n=n_open)]
    if len(shown) == limit:
        lines.append(
            msg("The next: mirada issues --check {check} --after {last}", check=check, last=shown[-1].issue_id)
        )
    return [*lines, msg("Decide with: mirada decide ISSUE… keep|drop|ambiguous|relabel=CLASS")]


@click.command(
    help=str(
        msg(
            "Decide on issues: keep, drop, ambiguous (out of training, kept for the gallery), relabel=CLASS, "
            "restore (back in after drop or ambiguous)."
        )
    ),
    epilog=str(msg("Example: mirada decide 3-9 12 drop --why 'not food'")),
)
@click.argument("words", nargs=-1, metavar="[ISSUE...] [ACTION]")
@click.option("--sample", "samples", multiple=True, metavar="SAMPLE|FILE",
              help=str(msg("Decide on a photograph as a whole, by its id or its path; may be repeated.")))  # fmt: skip
@click.option("--group", "groups", multiple=True, type=int, metavar="ISSUE",
              help=str(msg("Of these copies keep the best and drop the rest.")))  # fmt: skip
@click.option("--from", "files", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help=str(msg("Decisions of a CSV or JSON file, or an export of Label Studio.")))  # fmt: skip
@click.option("--auto", "rules", multiple=True, metavar="RULE",
              help=str(msg("A rule that decides by itself: drop_exact_duplicates, drop_near_duplicates, drop_corrupt, "
                           "accept_labels=P.")))  # fmt: skip
@click.option("--by", metavar="NAME", help=str(msg("Who decides; default: your user name.")))
@click.option("--why", default="", metavar="TEXT", help=str(msg("Why, for the record.")))
@click.option("--new-class", is_flag=True, help=str(msg("Let relabel=CLASS make a new class.")))
@click.option("--skip-bad", is_flag=True, help=str(msg("Decide what can be decided, and tell the rest.")))
@click.option("--dry-run", is_flag=True, help=str(msg("Say what would be decided, and decide nothing.")))
@click.pass_obj
@speaks
def decide(
    settings: Settings, *, words: tuple[str, ...], samples: tuple[str, ...], groups: tuple[int, ...],
    files: tuple[Path, ...], rules: tuple[str, ...], by: str | None, why: str, new_class: bool, skip_bad: bool,
    dry_run: bool,
) -> Result:  # fmt: skip
    """One call, all or nothing."""
    from mirada.catalog.catalog import Catalog
    from mirada.exchange import deciding
    from mirada.workflow.deciding import photo
    from mirada.workflow.handed import Gathered

    if not (words or samples or groups or files or rules):
        raise UsageError(msg("Say what to decide: mirada decide ISSUE… keep|drop|ambiguous|relabel=CLASS"))
    ids = _issue_ids(words[:-1]) if words else []
    action = _action(words[-1]) if words else None
    if bool(samples or ids) != (action is not None):
        raise UsageError(msg("Say both what and how: mirada decide ISSUE… keep|drop|ambiguous|relabel=CLASS"))
    taken = deciding.Rules(new_class, skip_bad, dry_run)
    person = by or getpass.getuser()
    with Catalog.open(settings.open().catalog_url) as catalog:
        gathered = Gathered(catalog, by=person, why=why)
        if action is not None:
            gathered.issues(ids, action)
            gathered.photographs([photo(catalog, name) for name in samples], action)
        gathered.groups(groups)
        gathered.files(files)
        gathered.rules(rules)
        outcome = deciding.decide(catalog, gathered.choices, taken, refused=gathered.refused)
    return Result(_decided_document(outcome, gathered.notes, dry_run=dry_run),
                  [*_decided_lines(outcome, gathered, dry_run=dry_run), *gathered.notes])  # fmt: skip


def _action(word: str) -> tuple[Action, str | None]:
    from mirada.exchange.base import ACTIONS, parse_action

    try:
        return parse_action(word)
    except InputError as error:
        near = difflib.get_close_matches(word.partition("=")[0].lower(), ACTIONS, n=1)
        raise UsageError(error.message, msg("Did you mean {name}?", name=near[0]) if near else None) from error


def _issue_ids(words: Sequence[str]) -> list[int]:
    found: list[int] = []
    for word in (part for text in words for part in text.split(",") if part):
        match = _RANGE.fullmatch(word)
        if match is None:
            raise UsageError(msg("An issue is a number, or a range such as 3-9; got {given!r}.", given=word))
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + _MOST_IN_RANGE:
            raise UsageError(msg("A range runs from the lower number to the higher one; got {given!r}.", given=word))
        found += range(first, last + 1)
    return list(dict.fromkeys(found))


def _decided_document(outcome: Outcome, notes: Sequence[Message], *, dry_run: bool) -> dict[str, object]:
    ids: Sequence[int | None] = outcome.ids or [None] * len(outcome.decisions)
    return {
        "dry_run": dry_run,
        "n_decided": len(outcome.decisions),
        "n_already": outcome.n_already,
        "n_refused": len(outcome.refused),
        "decisions": [
            {"id": key, "sample_id": one.sample_id, "check": one.check, "action": one.action, "new": one.new,
             "by": one.by, "why": one.reason}
            for key, one in zip(ids, outcome.decisions, strict=True)
        ],
        "refused": [{"code": one.error.code, "message": str(one.message)} for one in outcome.refused],
        "notes": [str(note) for note in notes],
    }  # fmt: skip


def _decided_lines(outcome: Outcome, gathered: Gathered, *, dry_run: bool) -> list[str | Message]:
    if not gathered.says_anything() and gathered.notes:
        return []  # the notes say why
    n_undecided = gathered.n_undecided
    n_by = Counter((one.check, one.action) for one in outcome.decisions)
    lines: list[str | Message] = []
    if n_by:
        rows = [[check or "–", action, n] for (check, action), n in sorted(n_by.items(), key=str)]
        lines += [*table([msg("check"), msg("decision"), msg("photographs")], rows), ""]
    n = len(outcome.decisions)
    if dry_run:
        lines.append(msg_n("{n} decision would be made; nothing was stored.",
                           "{n} decisions would be made; nothing was stored.", n=n))  # fmt: skip
    else:
        lines.append(msg_n("{n} decision made.", "{n} decisions made.", n=n))
        if n:
            lines.append(msg("`mirada undo {n}` takes that back.", n=n))
    if outcome.n_already:
        lines.append(
            msg_n("{n} was decided that way already.", "{n} were decided that way already.", n=outcome.n_already)
        )
    if n_undecided:
        lines.append(msg_n("{n} row has no decision yet.", "{n} rows have no decision yet.", n=n_undecided))
    if outcome.refused:
        lines += [msg_n("{n} refused:", "{n} refused:", n=len(outcome.refused)),
                  *[one.message for one in outcome.refused[:MOST_SHOWN]]]  # fmt: skip
        if len(outcome.refused) > MOST_SHOWN:
            lines.append(msg("… and {n} more; --json lists them.", n=len(outcome.refused) - MOST_SHOWN))
    return lines


@click.command(
    help=str(msg("Take back the last decisions, or those named; the record keeps both.")),
    epilog=str(msg("Example: mirada undo 3")),
)
@click.argument("n", type=click.IntRange(min=1), required=False)
@click.option("--id", "words", multiple=True, metavar="DECISION", help=str(msg("This decision, or a range of them.")))
@click.option("--by", metavar="NAME", help=str(msg("Who undoes; default: your user name.")))
@click.option("--why", default="", metavar="TEXT", help=str(msg("Why, for the record.")))
@click.pass_obj
@speaks
def undo(settings: Settings, *, n: int | None, words: tuple[str, ...], by: str | None, why: str) -> Result:
    """Each undo is a row of its own."""
    from mirada.catalog.catalog import Catalog
    from mirada.cli.telling import undone_rows

    if n is not None and words:
        raise UsageError(msg("Say how many, or which with --id, not both."))
    ids = _issue_ids(words) if words else None
    with Catalog.open(settings.open().catalog_url) as catalog:
        undone = catalog.undo(n or 1, ids=ids, by=by or getpass.getuser(), reason=why)
        if not undone:
            raise NotFound(msg("There is no decision to undo."), msg("`mirada history` tells what was decided."))
        lines = [*undone_rows(catalog, undone), msg_n("{n} decision undone.", "{n} decisions undone.", n=len(undone))]
    if n is not None and len(undone) < n:
        lines.append(msg("There were no more than that."))
    return Result({"n_undone": len(undone), "ids": undone}, lines)


@click.command(
    help=str(msg("Tell what cleaning did to each class; with a photograph: every decision on it.")),
    epilog=str(msg("Example: mirada history")),
)
@click.argument("name", required=False, metavar="[SAMPLE|FILE]")
@click.pass_obj
@speaks
def history(settings: Settings, *, name: str | None) -> Result:
    """The table whose rows add up."""
    from mirada.catalog.catalog import Catalog
    from mirada.cli.telling import class_table, photo_rows

    with Catalog.open(settings.open().catalog_url) as catalog:
        return class_table(catalog) if name is None else photo_rows(catalog, name)
