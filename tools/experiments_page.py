"""docs/experiments.md, whole, from what is kept of each experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from experiments_figures import Figure, Result, Run, main_figure, mean_accuracy
from experiments_items import ITEMS, REPORTS, Claim, Item
from experiments_run import Place, command_of, obstacle, shown

from mirada.evaluate.intervals import wilson

Results = Mapping[str, Result]
EXACT_N = 5000  # from so many photographs on, a hundredth of a point is worth printing
_INTRO = """
Every experiment of the five reports that Mirada grew out of, on the photographs at hand. Where those differ from the
report's, or a weight file is not at hand and a smaller network stands in for it, that is said, and the two figures
then stand beside each other only to show the way of working. A figure that was not measured is not here.

`make experiments` runs what has not been run and writes this page; killed, it goes on where it was.
`make experiments ONLY="NAME …"` runs some of them, and `tools/experiments.py --list` names them with what each would
take. In the commands `$DATA` and `$WEIGHTS` are the folders `data` and `weights` of `../shared`, or of where
`MIRADA_SHARED` points. What a command trains, and how, stands in its recipe: `mirada recipes NAME`.

An interval is Wilson's, of 95 %, for that many photographs: another draw of photographs could have given any figure in
it. Of several seeds the mean is given, with the interval of one test, because they all answer the same photographs:
a seed changes the training, not the split.
Time is that of the first seed's command by the clock, from start to end, reading and decoding the photographs included;
later seeds find them decoded. A report's figure has an interval where the number of its photographs is known.
"""


def page(results: Results, place: Place) -> str:
    """The page as Markdown."""
    parts = [*_head(place), *_table(results, place)]
    for number, report in REPORTS.items():
        parts.append(f"\n## {f'Report {number}: {report.title}' if number else _upper(report.title)}\n")
        parts += [
            f"{name} {text}\n"
            for name, text in (("**The report.**", report.theirs), ("**Here.**", report.ours))
            if text
        ]
        parts += [f"{report.chose}\n"] if report.chose else []
        for item in ITEMS:
            if item.report == number:
                parts += _section(item, results.get(item.name), place)
    parts += _machines(results)
    return "\n".join(parts).rstrip() + "\n"


def _head(place: Place) -> Iterator[str]:
    yield "<!-- Made by `make experiments`; do not edit. -->\n"
    if place.quick:
        yield "# Quick run of the experiments: not results\n"
        yield "Rendered photographs, one seed, one epoch: this page shows that the commands work, and nothing else.\n"
    else:
        yield "# The reports' experiments"
        yield _INTRO


def _table(results: Results, place: Place) -> Iterator[str]:
    yield "## All of them\n"
    yield "| experiment | the report | here | seeds | time | command |\n|---|---|---|---|---|---|"
    for item in ITEMS:
        result = results.get(item.name)
        runs = result.runs if result else ()
        where = f"{item.report}. " if item.report else ""
        cells = [
            f"[{where}{item.title}](#{_anchor(item.title)})",
            claimed(item.claim) or "not in a report",
            _ours(item, result, place),
            str(len(runs)) if runs else "–",
            _time(runs) if runs else "–",
            f"`{shown(item, place, command_of(item, place))}`",
        ]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def claimed(claim: Claim) -> str:
    """A report's figure, with an interval where n is known."""
    if claim.share is None:
        return claim.more
    words = f"{100 * claim.share:.4g} %"
    if claim.on:
        words += f" on {f'{claim.n} ' if claim.n else ''}{claim.on}{' photographs' if claim.n else ''}"
    if claim.n:
        figure = wilson(round(claim.share * claim.n), claim.n)
        words += f" ({_range(figure.low, figure.high, claim.n)}{f' if {claim.if_so}' if claim.if_so else ''})"
    return f"{words}; {claim.more}" if claim.more else words


def _ours(item: Item, result: Result | None, place: Place) -> str:
    if result is not None and result.failure:
        return f"failed here: {result.failure}"
    if result is None:
        return _not_run(item, place)
    figure = mean_accuracy(result.runs)
    if figure is None:
        return "see below" if any(run.told for run in result.runs) else "no figure"
    on = "" if result.runs[0].accuracy else " on val"
    return f"{_share(figure)}{on} ({_range(figure.low, figure.high, figure.n)}; n = {figure.n:,})"


def _not_run(item: Item, place: Place) -> str:
    if needs := obstacle(item, place):
        return f"not run here: needs {needs}"
    return f"not run here yet: about {duration(60 * item.minutes)} on two idle cores"


def _section(item: Item, result: Result | None, place: Place) -> Iterator[str]:
    yield f"### {item.title}\n"
    yield " ".join(_story(item, result, place)) + "\n"
    commands = [*item.prepare, command_of(item, place), *item.after]
    yield "```text\n" + "\n".join(shown(item, place, template) for template in commands) + "\n```\n"
    if result is None:
        yield f"{_upper(_not_run(item, place))}.\n"
    elif result.failure:
        yield f"Failed here on {result.day}: {result.failure}\n"
    else:
        yield from _figures(result.runs)
        yield from _told(result)


def _story(item: Item, result: Result | None, place: Place) -> Iterator[str]:
    yield item.did
    if words := claimed(item.claim):
        yield f"The report: {words}."
    if item.differs:
        yield item.differs
    used = result.network if result and result.network else ""
    if item.networks and used and used != item.networks[0]:
        yield f"The weights of {item.networks[0]} are not at hand: `{used}` stands in for it, another network."
    elif item.networks and not used and not (place.weights / f"{item.networks[0]}.safetensors").is_file():
        yield f"The weights of {item.networks[0]} are not at hand; {_stand_in(item)}."


def _stand_in(item: Item) -> str:
    return f"`{item.networks[-1]}` stands in for it" if len(item.networks) > 1 else "nothing stands in for it"


def _figures(runs: Sequence[Run]) -> Iterator[str]:
    """A row for each seed, and the mean."""
    if all(main_figure(run) is None for run in runs):
        return
    tested = runs[0].accuracy is not None
    yield (
        f"| seed | {'test' if tested else 'val'} accuracy (95 %, n) | val accuracy | ROC AUC, micro | macro F1 "
        "| parameters, of which trained | epochs, best | ended | time | load at start |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for run in runs:
        figure = main_figure(run)
        cells = [
            str(run.seed), _with_interval(figure), _with_interval(run.val_accuracy) if tested else "as before",
            _plain(run.auc), _plain(run.macro_f1), _parameters(run), _epochs(run), run.stop_reason or "–",
            _time([run]), f"{run.load:.1f}",
        ]  # fmt: skip
        yield "| " + " | ".join(cells) + " |"
    if len(runs) > 1 and (mean := mean_accuracy(runs)) is not None:
        values = [figure.value for run in runs if (figure := main_figure(run)) is not None]
        spread = _range(min(values), max(values), mean.n)
        yield f"\nMean of {len(runs)} seeds: {_with_interval(mean)}; the seeds range from {spread}."
    yield ""


def _told(result: Result) -> Iterator[str]:
    words = [text for run in result.runs for text in run.told]
    n = result.runs[0].n or {}
    if {"train", "val", "test"} <= n.keys():
        words.insert(0, f"{n['train']:,} photographs in train, {n['val']:,} in val, {n['test']:,} in test.")
    if len(result.runs) == 1 and main_figure(result.runs[0]) is None:
        words.append(f"It took {_time(result.runs)}, at a load of {result.runs[0].load:.1f} when it began.")
    if any(run.interrupted for run in result.runs):
        words.append("A run was interrupted and taken up again: its time is that of the last stretch alone.")
    if words:
        yield " ".join(words) + "\n"


def _machines(results: Results) -> Iterator[str]:
    """Where and when, once for each machine."""
    held: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for result in results.values():
        if result.runs:
            held.setdefault(tuple(sorted(result.machine.items())), []).append(result)
    yield "\n## Machines and versions\n"
    for facts, made in held.items():
        known = dict(facts)
        gpu = f", {known['gpu']}" if "gpu" in known else ""
        names = ", ".join(f"`{result.name}`" for result in made)
        days = " and ".join(sorted({result.day for result in made}))
        yield (
            f"- {known['processor']}, cores in use: {known['cores']}{gpu}; networks in {known['precision']} where the "
            f"processor is faster with it; {known['versions']}. {days}: {names}."
        )
    if not held:
        yield "Nothing was run yet."
    yield "\nThe load at the start of each command stands in its row: above 1, its time was taken beside other work."


def _share(figure: Figure) -> str:
    return f"{100 * figure.value:.{2 if figure.n >= EXACT_N else 1}f} %"


def _range(low: float, high: float, n: int) -> str:
    digits = 2 if n >= EXACT_N else 1
    return f"{100 * low:.{digits}f} to {100 * high:.{digits}f}"


def _with_interval(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{_share(figure)} ({_range(figure.low, figure.high, figure.n)}; {figure.n:,})"


def _plain(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def _parameters(run: Run) -> str:
    if run.n_parameters is None:
        return "–"
    trained = "" if run.n_trainable is None else f", {run.n_trainable:,}"
    return f"{run.n_parameters:,}{trained}"


def _epochs(run: Run) -> str:
    return "–" if run.n_epochs is None else f"{run.n_epochs}, {run.best_epoch}"


def _time(runs: Sequence[Run]) -> str:
    """Of the first: what comes after it finds the photographs decoded."""
    return ("over " if runs[0].interrupted else "") + duration(runs[0].seconds)


def duration(seconds: float) -> str:
    """48 s, 12 min, 1.4 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _anchor(title: str) -> str:
    """A heading as GitHub spells it in addresses."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in "_- ")
    return kept.replace(" ", "-")
