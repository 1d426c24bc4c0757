"""How a network was trained, epoch by epoch, as the drawings and the table of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from mirada.evaluate.line_charts import Frame, Points, epoch_axis, linear_axis, share_axis
from mirada.evaluate.words import count, decimal, percent
from mirada.messages import Message, msg, msg_n

LOW_HEIGHT = 84
Series = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True, slots=True)
class StageSpan:
    """A stage of a recipe and its epochs, counted from 1 through all stages, both ends included."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCurves:
    """figures: (epoch, value) by name, such as "val_loss". best_epoch: whose weights were kept; 0: it is not known."""

    figures: Series = field(default_factory=dict)
    stages: tuple[StageSpan, ...] = ()
    best_epoch: int = 0

    @property
    def n_epochs(self) -> int:
        """How many epochs were trained."""
        return max((epoch for points in self.figures.values() for epoch, _ in points), default=0)


@dataclass(frozen=True, slots=True)
class Panel:
    """A drawing with its caption; key: (class of the colour, words)."""

    drawing: Markup
    caption: str
    key: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingPart:
    """What the report shows of a training."""

    title: str
    lead: str
    large: tuple[Panel, ...]
    small: tuple[Panel, ...]
    table_title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


_SMALL: tuple[tuple[str, Message, float], ...] = (
    ("lr", msg("Learning rate"), 1.0),
    ("cpu_percent", msg("Processor, cores in use"), 0.01),
    ("rss_mb", msg("Memory, GiB"), 1 / 1024),
    ("gpu_percent", msg("GPU, percent in use"), 1.0),
    ("gpu_mb", msg("GPU memory, GiB"), 1 / 1024),
)


def training_part(curves: TrainingCurves | None) -> TrainingPart | None:
    """The part of the report; None where there is nothing to show."""
    if curves is None or curves.n_epochs == 0:
        return None
    known = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in curves.figures.items()}
    curves = TrainingCurves(figures=known, stages=curves.stages, best_epoch=curves.best_epoch)
    large = (_losses(curves), _accuracy(curves))
    small = tuple(_small(curves, name, title, factor) for name, title, factor in _SMALL if known.get(name))
    head, rows = _table(curves)
    return TrainingPart(
        str(msg("How it was trained")), _lead(curves), tuple(panel for panel in large if panel), small,
        str(msg("Epoch by epoch")), head, rows,
    )  # fmt: skip


def _lead(curves: TrainingCurves) -> str:
    n, best = curves.n_epochs, curves.best_epoch
    told = msg_n("{n} epoch.", "{n} epochs.", n=n)
    if not best:
        return str(told)
    kept = msg(
        "{told} The weights of epoch {best} are those of the model; the dashed line marks it.", told=told, best=best
    )
    return str(kept)


def _losses(curves: TrainingCurves) -> Panel | None:
    lines = {name: curves.figures.get(f"{name}_loss", ()) for name in ("train", "val")}
    if not any(lines.values()):
        return None
    key = (("k-train", str(msg("train"))), ("k-right", str(msg("val"))))
    shown = tuple((colour, words) for (colour, words), name in zip(key, ("train", "val"), strict=True) if lines[name])
    return Panel(_drawing(curves, lines, str(msg("Loss"))), str(msg("Loss: less is better.")), shown)


def _accuracy(curves: TrainingCurves) -> Panel | None:
    points = curves.figures.get("val_accuracy", ())
    if not points:
        return None
    caption = msg("Right answers on val")
    best = dict(points).get(curves.best_epoch)
    if best is not None:
        caption = msg("Right answers on val; {share} in epoch {best}", share=percent(best), best=curves.best_epoch)
    return Panel(_drawing(curves, {"val": points}, str(msg("Right answers on val")), shares=True), str(caption))


def _drawing(curves: TrainingCurves, lines: Mapping[str, Points], title: str, *, shares: bool = False) -> Markup:
    """Lines over epochs, with the stages behind them and the best epoch marked."""
    values = [value for points in lines.values() for _, value in points]
    digits = 2 if max(values) - min(values) > 0.05 else 3
    axis = share_axis(values) if shares else linear_axis(values, lambda v: decimal(v, digits))
    frame = Frame(epoch_axis(curves.n_epochs), axis, top=24 if len(curves.stages) > 1 else 10)
    parts = _stretches(curves, frame)
    if curves.best_epoch:
        parts.append(frame.upright(curves.best_epoch))
    for name, points in lines.items():
        parts.append(frame.line(points, f"line-{name}"))
        at = dict(points).get(curves.best_epoch)
        if name == "val" and at is not None:
            hint = percent(at) if shares else decimal(at, 4)
            parts.append(frame.dot(curves.best_epoch, at, hint=f"{curves.best_epoch}: {hint}"))
    return frame.drawn(parts, title=title, x_label=str(msg("Epoch")))


def _stretches(curves: TrainingCurves, frame: Frame) -> list[str]:
    """The stages, where there are several; every other one shaded, from epoch to epoch."""
    if len(curves.stages) < 2:
        return []
    last = curves.stages[-1].last
    return [
        frame.stretch(max(1, s.first - 0.5), min(last, s.last + 0.5), s.name, shaded=bool(i % 2))
        for i, s in enumerate(curves.stages)
    ]


def _small(curves: TrainingCurves, name: str, title: Message, factor: float) -> Panel:
    points = [(epoch, value * factor) for epoch, value in curves.figures[name]]
    write = _rate if name == "lr" else lambda v: decimal(v, 0 if v == round(v) else 1)
    frame = Frame(
        epoch_axis(curves.n_epochs), linear_axis([y for _, y in points], write, most=2, zero=True), height=LOW_HEIGHT
    )
    return Panel(frame.drawn([frame.line(points, "line-val")], title=str(title)), str(title))


def _rate(value: float) -> str:
    """0.003 as it is, 0.00003 as 3e-5: narrow enough for an axis."""
    if value == 0 or abs(value) >= 0.001:
        return _trimmed(value, 4)
    power = math.floor(math.log10(abs(value)))
    return f"{_trimmed(value / 10.0**power, 1)}e{power}"


def _trimmed(value: float, digits: int) -> str:
    text = decimal(value, digits)
    return text.rstrip("0").rstrip(".,") if digits else text


def _table(curves: TrainingCurves) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    columns = (
        ("train_loss", msg("loss on train"), lambda v: decimal(v, 4)),
        ("val_loss", msg("loss on val"), lambda v: decimal(v, 4)),
        ("val_accuracy", msg("right on val"), percent),
        ("lr", msg("learning rate"), _rate),
        ("seconds", msg("seconds"), lambda v: decimal(v, 1)),
    )
    shown = [(dict(curves.figures[name]), title, write) for name, title, write in columns if curves.figures.get(name)]
    stage_of = {epoch: s.name for s in curves.stages for epoch in range(s.first, s.last + 1)}
    head = [str(msg("Epoch")), *([str(msg("stage"))] if stage_of else []), *(str(title) for _, title, _ in shown)]
    rows = []
    for epoch in range(1, curves.n_epochs + 1):
        cells = [write(values[epoch]) if epoch in values else "–" for values, _, write in shown]
        rows.append((count(epoch), *([stage_of.get(epoch, "–")] if stage_of else []), *cells))
    return tuple(head), tuple(rows)
