"""The figures of an experiment, out of what its commands print with --json."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments_items import Kind

from mirada.evaluate.intervals import wilson

Document = Mapping[str, Any]  # what a command prints with --json


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its 95 % interval and n."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One seed's figures, as the command told them. `interrupted`: seconds are those after the last interruption."""

    seed: int
    seconds: float
    load: float
    interrupted: bool = False
    accuracy: Figure | None = None
    val_accuracy: Figure | None = None
    auc: Figure | None = None
    macro_f1: Figure | None = None
    n: Mapping[str, int] | None = None
    n_parameters: int | None = None
    n_trainable: int | None = None
    n_epochs: int | None = None
    best_epoch: int | None = None
    stop_reason: str = ""
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of an item. `network`: the pretrained one that was used; `failure`: why there are no runs."""

    name: str
    day: str
    machine: Mapping[str, str]
    network: str = ""
    runs: tuple[Run, ...] = ()
    failure: str = ""


def run_of(kind: Kind, seed: int | None, answer: Document) -> Run:
    """The figures of one seed out of {"seconds", "load", "interrupted", "document": what the command printed}."""
    shared = {"seed": seed, **{name: answer[name] for name in ("seconds", "load", "interrupted")}}
    read = {"train": _trained, "folds": _folds, "search": _searched, "look": _looked}[kind]
    return Run(**{**shared, **read(answer["document"])})


def _figure(metrics: Document | None, name: str) -> Figure | None:
    return Figure(**metrics[name]) if metrics and metrics.get(name) else None


def _judged(metrics: Document) -> dict[str, Any]:
    names = {"accuracy": "accuracy", "auc": "roc_auc_micro", "macro_f1": "macro_f1"}
    return {field: _figure(metrics, name) for field, name in names.items()}


def _trained(document: Document) -> dict[str, Any]:
    network = document["network"] or {}
    names = ("n_parameters", "n_trainable", "n_epochs", "best_epoch", "stop_reason")
    made = {**_judged(document["test"]), **{name: network[name] for name in names if name in network}}
    return {**made, "val_accuracy": _figure(document["val"], "accuracy"), "n": document["n"]}


def _folds(document: Document) -> dict[str, Any]:
    took = [f"{seconds:.0f} s" for seconds in document["fold_seconds"]]
    told = [f"The folds took {', '.join(took[:-1])} and {took[-1]}."]
    if against := document["comparison"]:
        gain, verdict = against["difference"], {"a better": "better", "b better": "worse", "tie": "tied"}
        told.append(
            f"Beside the frozen head on the same folds it is {verdict[against['verdict']]}: a difference of "
            f"{100 * gain['value']:+.1f} points ({100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}), "
            f"{against['only_a']} photographs right by it alone and {against['only_b']} by the head alone "
            f"(p = {against['p_value']:.2g})."
        )
    return {**_judged(document["metrics"]), "told": tuple(told)}


def _searched(document: Document) -> dict[str, Any]:
    best = next(trial for trial in document["trials"] if trial["number"] == document["winner"])
    chosen = ", ".join(f"{path.split('+')[0].rsplit('.', 1)[-1]} {_plain(v)}" for path, v in best["params"].items())
    told = (
        f"{document['n_trials']} networks and {document['n_epochs']:,} epochs in all; the best has {chosen}. "
        f"{len(document['tied'])} others are tied with it by a paired test on the same photographs.",
    )
    names = ("n_parameters", "best_epoch")
    figures = {name: best[name] for name in names}
    return {"val_accuracy": _figure(best, "accuracy"), "n_epochs": best["epochs"], "told": told, **figures}


def told_after(answer: Document) -> str:
    """What the best network of a search does on test, trained by its recipe."""
    test = _figure(answer["document"]["test"], "accuracy")
    if test is None:
        return ""
    return (
        f"Trained once more by its recipe, the best network has {100 * test.value:.2f} % of {test.n:,} test "
        f"photographs right ({100 * test.low:.2f} to {100 * test.high:.2f})."
    )


def _plain(value: object) -> str:
    """A choice as a person writes it; of choices that go together the first tells them apart."""
    if isinstance(value, list):
        return str(value[0]) if isinstance(value[0], str) else "-".join(str(part) for part in value)
    return str(value)


def _looked(document: Any) -> dict[str, Any]:
    """What the network says most often of each folder."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for row in document:
        if row["error"] is None:
            answers[Path(row["uri"]).parent.name][row["top_k"][0]["label"].split(",")[0]] += 1
    most = [(name, counts.most_common(1)[0], counts.total()) for name, counts in sorted(answers.items())]
    rows = [f"{name}: {label} ({n} of {total})" for name, (label, n), total in most]
    agreed = sum(n for _, (_, n), _ in most)
    told = f"Its commonest answer for each sport: {'; '.join(rows)}."
    total = sum(total for *_, total in most)
    late = f"They cover {agreed} of {total} photographs; chosen after looking, they make no accuracy."
    return {"n": {"test": total}, "told": (told, late)}


def mean_accuracy(runs: Sequence[Run]) -> Figure | None:
    """The mean of all seeds with Wilson's interval for one test of n photographs; None where there is no figure.

    The seeds answer the same photographs, so that many seeds do not make the interval narrower.
    """
    figures = [figure for run in runs if (figure := main_figure(run)) is not None]
    if len(figures) < 2:
        return figures[0] if figures else None
    value, n = sum(figure.value for figure in figures) / len(figures), min(figure.n for figure in figures)
    around = wilson(value * n, n)  # a mean of counts need not be whole
    return Figure(value=value, low=around.low, high=around.high, n=n)


def main_figure(run: Run) -> Figure | None:
    """The accuracy on test, or on val where nothing else was judged."""
    return run.accuracy or run.val_accuracy
