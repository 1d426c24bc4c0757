"""From an EvalReport to the rows, sentences and drawings that the page shows. Texts are in the language in force."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from markupsafe import Markup

from mirada.evaluate.charts import heat_level, interval_bar
from mirada.evaluate.words import METRICS, STAGES, SUBSETS, TEXTS, count, decimal, percent
from mirada.messages import msg, msg_n
from mirada.types import EvalReport, Metric, Rejected, WorstSample

FEW = 300
"""With fewer photographs the page says that they are few."""
MAX_TABLE = 30
"""With more classes than this the matrix is a picture and a list of pairs instead of a table."""
N_PAIRS, N_REJECTED = 25, 500


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A line of the table of figures."""

    name: str
    title: str
    meaning: str
    value: str
    interval: str
    n: str
    bar: Markup
    remark: str
    first: bool


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A line of the table of classes; "–" where a figure is undefined."""

    name: str
    n: str
    recall: str
    recall_interval: str
    bar: Markup
    precision: str
    f1: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the confusion matrix."""

    count: str
    share: str
    heat: str
    hint: str


@dataclass(frozen=True, slots=True)
class WorstCard:
    """A mistake as a picture; `heat`: the same photograph with what spoke for the answer, "" where there is none."""

    picture: str
    heat: str
    label: str
    prediction: str
    score: str
    file: str
    uri: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The first lines of the page: the sentences, and the accuracy as a large number with its bar."""

    sentences: tuple[str, ...]
    value: str
    interval: str
    bar: Markup
    baseline: str


def headline(report: EvalReport) -> Headline:
    """How good the model is, in plain sentences, with the interval, the number of photographs and what to compare."""
    accuracy = report.metrics.get("accuracy")
    largest = max((sum(row) for row in report.confusion), default=0)
    baseline = largest / report.n if report.n else 0.0
    if accuracy is None:
        return Headline((str(msg("There is no accuracy to tell.")),), "–", "", Markup(), "")
    told = [_first_sentence(report), _interval_sentence(accuracy)]
    told += [sentence for sentence in (_few_sentence(accuracy), _weakest_sentence(report)) if sentence]
    return Headline(
        tuple(told),
        percent(accuracy.value),
        interval(accuracy),
        interval_bar(accuracy, wide=True, baseline=baseline),
        percent(baseline),
    )


def _first_sentence(report: EvalReport) -> str:
    right = sum(row[i] for i, row in enumerate(report.confusion))
    of_all = {"n": count(report.n), "right": count(right)}
    if report.subset in SUBSETS:
        name = str(SUBSETS[report.subset])
        return str(msg("Of {n} {name}, the model names {right} rightly.", name=name, **of_all))
    return str(
        msg("Of the {n} photographs of “{name}”, the model names {right} rightly.", name=report.subset, **of_all)
    )


def _interval_sentence(accuracy: Metric) -> str:
    return str(
        msg(
            "On many more photographs of this kind its accuracy would most likely lie between {low} and {high}.",
            low=percent(accuracy.low),
            high=percent(accuracy.high),
        )
    )


def _few_sentence(accuracy: Metric) -> str:
    if accuracy.n >= FEW:
        return ""
    points = decimal(100 * (accuracy.high - accuracy.low) / 2, 0)
    return str(
        msg_n(
            "{n} photograph says almost nothing.",
            "{n} photographs are few: a difference of less than about {points} points from another model may be "
            "chance.",
            n=accuracy.n,
            points=points,
        )
    )


def _weakest_sentence(report: EvalReport) -> str:
    judged = [(m["recall"], name) for name, m in report.per_class.items() if "recall" in m]
    if len(judged) < 2:
        return ""
    recall, name = min(judged, key=lambda pair: (pair[0].value, pair[1]))
    if recall.value == 1:
        return ""
    found = round(recall.value * recall.n)
    return str(
        msg("It is weakest on “{name}”: it finds {found} of {n}.", name=name, found=count(found), n=count(recall.n))
    )


def interval(metric: Metric, kind: str = "share") -> str:
    """The two ends of an interval."""
    write = percent if kind == "share" else decimal
    return f"{write(metric.low)} – {write(metric.high)}"


def figures(report: EvalReport) -> list[FigureRow]:
    """The table of figures, those we know first and in our order."""
    known = [name for name in METRICS if name in report.metrics]
    rows = []
    for name in known + [name for name in report.metrics if name not in METRICS]:
        metric, words = report.metrics[name], METRICS.get(name)
        kind = words.kind if words else "number"
        is_share = words is not None and words.better == "higher"
        rows.append(
            FigureRow(
                name,
                str(words.title) if words else name,
                str(words.meaning) if words else "",
                percent(metric.value) if kind == "share" else decimal(metric.value),
                interval(metric, kind),
                count(metric.n),
                interval_bar(metric) if is_share else Markup(),
                str(TEXTS["lower"]) if words and words.better == "lower" else "",
                words.first if words else False,
            )
        )
    return rows


def class_rows(report: EvalReport) -> list[ClassRow]:
    """A line for each class: judged ones first, the least found first."""

    def rank(name: str) -> tuple[bool, float, str]:
        recall = report.per_class[name].get("recall")
        return (recall is None, recall.value if recall else 0.0, name)

    rows = []
    for name in sorted(report.per_class, key=rank):
        found = report.per_class[name]
        recall, support = found.get("recall"), found.get("support")
        n = support.value if support else recall.n if recall else 0
        rows.append(
            ClassRow(
                name,
                count(n),
                percent(recall.value) if recall else "–",
                interval(recall) if recall else "",
                interval_bar(recall) if recall else Markup(),
                *(percent(found[key].value) if key in found else "–" for key in ("precision", "f1")),
            )
        )
    return rows


def matrix(report: EvalReport) -> list[tuple[str, list[Cell], str]]:
    """Rows of the confusion table: class name, cells, total."""
    rows = []
    for i, (name, counts) in enumerate(zip(report.class_names, report.confusion, strict=True)):
        total = sum(counts)
        cells = []
        for j, n in enumerate(counts):
            share = n / total if total else 0.0
            heat = f"{'right' if i == j else 'wrong'}-{heat_level(share)}" if n else "none"
            hint = f"{name} → {report.class_names[j]}: {count(n)} ({percent(share)})"
            cells.append(Cell(count(n) if n else "·", percent(share, 0) if n else "·", heat, hint))
        rows.append((name, cells, count(total)))
    return rows


def confused_pairs(report: EvalReport) -> list[tuple[str, str, str, str]]:
    """The most frequent mistakes: true class, prediction, times, share of the true class."""
    wrong = [
        (n, i, j) for i, row in enumerate(report.confusion) for j, n in enumerate(row) if n and i != j
    ]  # fmt: skip
    names, rows = report.class_names, []
    for n, i, j in sorted(wrong, key=lambda pair: (-pair[0], pair[1], pair[2]))[:N_PAIRS]:
        rows.append((names[i], names[j], count(n), percent(n / sum(report.confusion[i]))))
    return rows


def worst_cards(
    worst: Sequence[WorstSample], thumbnails: Mapping[str, bytes], heatmaps: Mapping[str, bytes]
) -> Iterator[WorstCard]:
    """The worst mistakes with their pictures; a sample without a thumbnail keeps its place."""
    for sample in worst:
        picture = _data_uri(thumbnails.get(sample.sample_id), "webp")
        heat = _data_uri(heatmaps.get(sample.sample_id), "jpeg")
        file = PurePath(sample.uri.replace("\\", "/")).name or sample.uri
        yield WorstCard(picture, heat, sample.label, sample.prediction, percent(sample.score), file, sample.uri)


def _data_uri(data: bytes | None, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}" if data else ""


@dataclass(frozen=True, slots=True)
class RejectedRows:
    """Files left out: how many for which reason, the first of them by name, and how many more there are."""

    by_reason: list[tuple[str, str]]
    files: list[tuple[str, str]]
    n_more: int
    more: str


def rejected_rows(rejected: Sequence[Rejected]) -> RejectedRows:
    """The table of files left out, with the reason as a sentence."""
    # Decoding is a heavy room to import for a handful of sentences; most callers have it loaded already.
    from mirada.imaging.decode import REASONS

    def sentence(code: str) -> str:
        return str(REASONS[code]) if code in REASONS else code

    reasons = Counter(r.reason for r in rejected).most_common()
    shown = [(r.uri, sentence(r.reason)) for r in rejected[:N_REJECTED]]
    n_more = max(0, len(rejected) - N_REJECTED)
    more = str(msg_n("and {n} more file", "and {n} more files", n=n_more))
    return RejectedRows([(sentence(code), count(n)) for code, n in reasons], shown, n_more, more)


def seconds_line(seconds: Mapping[str, float]) -> str:
    """For example: adding 2.1 · embedding 6.0 · in all 9.3."""
    return " · ".join(f"{STAGES.get(name, name)} {decimal(value, 1)}" for name, value in seconds.items())


def split_line(n: Mapping[str, int]) -> str:
    """For example: 1200 training photographs · 75 test photographs."""
    return " · ".join(f"{count(value)} {SUBSETS.get(name, name)}" for name, value in n.items())
