"""The page of a learning curve: what it says, its drawing, its table. One file, in the manner of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from mirada.evaluate.learning_curve import CurveSize, LearningCurve
from mirada.evaluate.line_charts import Frame, log_axis, share_axis
from mirada.evaluate.report import render_page, write_page
from mirada.evaluate.views import interval
from mirada.evaluate.words import count, decimal, percent
from mirada.messages import Message, msg


@dataclass(frozen=True, slots=True)
class CurveContext:
    """What the page tells beyond the curve. subject: what was trained."""

    subject: str = ""
    source: str = ""
    notes: Sequence[Message | str] = ()


def write_curve_page(path: Path, curve: LearningCurve, context: CurveContext) -> Path:
    """Write the page in the language in force. Returns `path`. Raises StorageError."""
    return write_page(path, render_curve_page(curve, context))


def render_curve_page(curve: LearningCurve, context: CurveContext) -> str:
    """The page as text, in the language in force."""
    last = curve.sizes[-1]
    values: dict[str, object] = {
        "title": str(msg("Learning curve")),
        "subtitle": " · ".join(part for part in (context.subject, context.source) if part),
        "value": percent(last.accuracy.value),
        "interval": interval(last.accuracy),
        "told": [str(message) for message in curve.told],
        "drawing": draw_curve(curve),
        "caption": str(
            msg(
                "Right answers on the {n} test photographs after training on more and more. The strokes are 95 % "
                "intervals, the dashed line is the fitted curve, the band its interval.",
                n=count(curve.n_test),
            )
        ),
        "measured": str(msg("What was measured")),
        "head": [str(text) for text in HEAD],
        "rows": [size_row(size) for size in curve.sizes],
        "ahead": str(msg("What more would bring")),
        "ahead_rows": [
            (count(f.n), percent(f.accuracy.value), interval(f.accuracy), f"+{decimal(100 * f.gain.value, 1)}")
            for f in curve.forecasts
        ],
        "ahead_head": [str(text) for text in (*HEAD[:3], msg("points more"))],
        "law": law_sentence(curve),
        "notes": list(dict.fromkeys(str(note) for note in context.notes)),
    }
    return render_page("learning_curve.html", values)


HEAD = (msg("photographs"), msg("right"), msg("95 % interval"), msg("fitted"), msg("models"))


def size_row(size: CurveSize) -> tuple[str, ...]:
    """A line of the table under `HEAD`; "–" where the curve does not hold."""
    fitted = "–" if size.fitted is None else percent(size.fitted)
    return count(size.n), percent(size.accuracy.value), interval(size.accuracy), fitted, str(size.n_models)


def law_sentence(curve: LearningCurve) -> str:
    """The fitted law, for those who know what to do with it; "" where there is none."""
    law = curve.law
    if law is None:
        return ""
    told = msg(
        "Fitted from {n} photographs on: error = {a:.4f} + {b:.4g} · n^(−{c:.3f}).",
        n=count(law.first_n), a=law.a, b=law.b, c=law.c,
    )  # fmt: skip
    return str(told)


def draw_curve(curve: LearningCurve) -> Markup:
    """Accuracy against photographs, which double from step to step; the law goes on to four times as many."""
    sizes = curve.sizes
    ends = [end for size in sizes for end in (size.accuracy.low, size.accuracy.high)]
    ends += [end for _, _, low, high in curve.band for end in (low, high)]
    furthest = curve.band[-1][0] if curve.band else max(sizes[-1].n, 2 * sizes[0].n)
    frame = Frame(
        log_axis(sizes[0].n / 1.15, furthest * 1.15, count),
        share_axis(ends),
        height=260,
    )
    parts = [frame.band([(n, low, high) for n, _, low, high in curve.band])] if curve.band else []
    parts.append(frame.line([(n, value) for n, value, _, _ in curve.band], "line-law"))
    if curve.band:
        parts.append(frame.upright(sizes[-1].n))
    parts += [frame.whisker(size.n, size.accuracy.low, size.accuracy.high) for size in sizes]
    parts += [
        frame.dot(size.n, size.accuracy.value, radius=4.5, hint=f"{count(size.n)}: {percent(size.accuracy.value)}")
        for size in sizes
    ]
    return frame.drawn(parts, title=str(msg("Learning curve")), x_label=str(msg("Photographs to train on")))
