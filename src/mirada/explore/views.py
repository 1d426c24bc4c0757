"""From a summary to the rows, sentences and drawings that the page shows. Texts are in the language in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from markupsafe import Markup

from mirada.explore import drawings
from mirada.explore.columns import Columns
from mirada.explore.copies import Copies
from mirada.explore.findings import findings
from mirada.explore.oddness import Extremes
from mirada.explore.summary import SHOWN, Portrait, Summary
from mirada.explore.words import CHANNELS, QUANTITIES, TEXTS, count, figure, percent, size
from mirada.imaging.base import REASONS
from mirada.imaging.thumbnail import data_uri
from mirada.messages import decimal, msg

MOST_ROWS = 30
"""Further classes are folded away."""
MOST_SHOWN_CLASSES = 60
"""Of further classes no pictures are shown."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A class as a button of the map. y: its number in the map's data; -1 without a label."""

    name: str
    n: str
    y: int
    colour: str


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in every table of the page."""

    name: str
    colour: str
    n: str
    share: str
    bar: Markup
    split: str
    commonest: str
    shapes: str
    n_sizes: str
    bytes: str
    formats: str
    channels: str
    grey: str
    strips: tuple[tuple[Markup, str], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A histogram with its name, its meaning and its median."""

    title: str
    meaning: str
    median: str
    drawing: Markup


@dataclass(frozen=True, slots=True)
class Card:
    """A photograph of a class, odd or plain."""

    picture: str
    file: str
    uri: str
    score: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """The oddest and the plainest of a class."""

    name: str
    colour: str
    oddest: tuple[Card, ...]
    plainest: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class View:
    """Everything the template shows but the map."""

    n: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[tuple[str, str], ...]
    balance: tuple[str, ...]
    rows: tuple[ClassRow, ...]
    whole: ClassRow
    splits: tuple[str, ...]
    sizes: Markup | None
    charts: tuple[Chart, ...]
    quantities: tuple[str, ...]
    galleries: tuple[Gallery, ...]
    copies: tuple[tuple[str, str, str], ...]
    rejected: tuple[tuple[str, str], ...]
    n_rejected: str
    has_grey: bool


def view(summary: Summary, columns: Columns, extremes: Sequence[Extremes], thumbnails: Mapping[int, bytes]) -> View:
    """What the page shows of `summary`; thumbnails: WebP by row, for the cards of `extremes`."""
    index = {name: i for i, name in enumerate(columns.class_names)}
    scales = {name: (bars.edges[0], bars.edges[-1]) for name, bars in summary.bars.items()}
    shown = tuple(name for name in SHOWN if name in summary.all.statistics)
    most = max((portrait.n for portrait in summary.classes), default=1)
    is_grey_known = summary.all.n_grey is not None and summary.all.n_measured > 0
    return View(
        n=count(summary.n),
        facts=tuple(_facts(summary)),
        findings=tuple((finding.weight, str(finding.message)) for finding in findings(summary)),
        balance=() if summary.balance is None else tuple(str(message) for message in summary.balance.messages()),
        rows=tuple(_row(portrait, index, most, shown, scales) for portrait in summary.classes),
        whole=_row(summary.all, index, summary.n, shown, scales),
        splits=tuple(summary.by_split),
        sizes=_sizes(summary) if summary.sizes else None,
        charts=tuple(_charts(summary)),
        quantities=tuple(str(QUANTITIES[name][0]) for name in shown),
        galleries=tuple(_galleries(summary, columns, extremes, thumbnails)),
        copies=tuple(_copies(summary.copies)),
        rejected=tuple((str(REASONS.get(reason, reason)), count(n)) for reason, n in summary.rejected.items()),
        n_rejected=count(summary.n_rejected),
        has_grey=is_grey_known,
    )


def chip(name: str | None, n: int, index: Mapping[str, int]) -> Chip:
    """The button of a class."""
    y = -1 if name is None else index[name]
    return Chip(str(TEXTS["no_label"]) if name is None else name, count(n), y, drawings.colour_class(y))


def split_line(by_split: Mapping[str, int]) -> str:
    """As in "train 700 · val 150 · test 150"."""
    return " · ".join(f"{name} {count(n)}" for name, n in by_split.items())


def _facts(summary: Summary) -> list[tuple[str, str]]:
    text = {name: str(message) for name, message in TEXTS.items()}
    whole = summary.all
    facts = [(text["classes"], count(len(summary.class_names)))]
    if whole.n:
        facts.append((str(msg("On disk")), size(whole.total_bytes)))
    if whole.commonest_size is not None:
        facts.append((text["commonest"], _commonest(whole)))
    facts.append((text["split"], split_line(summary.by_split) or str(msg("none yet"))))
    facts.append((str(msg("Surplus copies")), count(summary.copies.exact.n_extra)))
    facts.append((text["rejected"], count(summary.n_rejected)))
    return facts


def _copies(copies: Copies) -> list[tuple[str, str, str]]:
    """(kind, groups, photographs in them) of each kind of copies; "–" for what nobody looked for."""
    rows = []
    for name, found in ((msg("Same bytes"), copies.exact), (msg("Near duplicates"), copies.near)):
        groups, photos = ("–", "–") if found is None else (count(found.n_groups), count(found.n_photos))
        rows.append((str(name), groups, photos))
    across = copies.leakage
    told = ("–", "–") if across is None else (count(across.n_groups), count(across.n_test + across.n_val))
    return [*rows, (str(msg("Across train, val and test (those of val and test)")), *told)]


def _row(
    portrait: Portrait,
    index: Mapping[str, int],
    most: int,
    shown: Sequence[str],
    scales: Mapping[str, tuple[float, float]],
) -> ClassRow:
    name = str(TEXTS["all"] if portrait.is_all else TEXTS["no_label"]) if portrait.name is None else portrait.name
    y = -1 if portrait.name is None else index[portrait.name]
    channels = {str(CHANNELS.get(mode, mode)): n for mode, n in portrait.channels.items()}
    return ClassRow(
        name=name,
        colour=drawings.colour_class(y),
        n=count(portrait.n),
        share=percent(portrait.share),
        bar=drawings.stacked_bar(portrait.by_split, portrait.n, most=most, colour=drawings.colour_class(y)),
        split=split_line(portrait.by_split),
        commonest=_commonest(portrait),
        shapes=" / ".join(count(n) for n in (portrait.n_landscape, portrait.n_square, portrait.n_portrait)),
        n_sizes=count(portrait.n_sizes),
        bytes="–" if portrait.n_bytes is None else size(portrait.n_bytes.median),
        formats=_shares(portrait.formats, portrait.n),
        channels=_shares(channels, portrait.n),
        grey="–" if portrait.n_grey is None or not portrait.n_measured else count(portrait.n_grey),
        strips=tuple(_strip(name, portrait, scales) for name in shown),
    )


def _strip(name: str, portrait: Portrait, scales: Mapping[str, tuple[float, float]]) -> tuple[Markup, str]:
    spread = portrait.statistics.get(name)
    told = "–" if spread is None else figure(name, spread.median)
    return drawings.strip(name, spread, *scales.get(name, (0.0, 1.0))), told


def _commonest(portrait: Portrait) -> str:
    if portrait.commonest_size is None:
        return "–"
    width, height, n = portrait.commonest_size
    return f"{width} × {height} ({percent(n / portrait.n, 0)})"


def _shares(counts: Mapping[str, int], n: int) -> str:
    """As in "JPEG 98 % · PNG 2 %"; the name alone where there is one."""
    if len(counts) == 1:
        return next(iter(counts))
    return " · ".join(f"{name} {percent(m / n, 0)}" for name, m in counts.items()) or "–"


def _sizes(summary: Summary) -> Markup:
    text = {name: str(TEXTS[name]) for name in ("sizes", "width", "height", "no_label")}
    return drawings.sizes(
        summary.sizes,
        summary.class_names,
        no_label=text["no_label"],
        labels=(text["sizes"], text["width"], text["height"]),
        commonest=summary.all.commonest_size,
    )


def _charts(summary: Summary) -> list[Chart]:
    spreads = {"aspect": summary.all.aspect, "n_bytes": summary.all.n_bytes, **summary.all.statistics}
    charts = []
    for name in (*SHOWN, "aspect", "n_bytes"):
        bars, spread = summary.bars.get(name), spreads.get(name)
        if bars is None or spread is None:
            continue
        title, meaning = (str(part) for part in QUANTITIES[name])
        charts.append(Chart(title, meaning, figure(name, spread.median), drawings.histogram(name, bars, title=title)))
    return charts


def _galleries(
    summary: Summary, columns: Columns, extremes: Sequence[Extremes], thumbnails: Mapping[int, bytes]
) -> list[Gallery]:
    of_class = {found.y: found for found in extremes}
    galleries = []
    for portrait in summary.classes[:MOST_SHOWN_CLASSES]:
        y = -1 if portrait.name is None else columns.class_names.index(portrait.name)
        found = of_class.get(y)
        if found is not None:
            odd, plain = (
                tuple(_card(row, score, columns, thumbnails) for row, score in rows)
                for rows in (found.oddest, found.plainest)
            )
            name = portrait.name or str(TEXTS["no_label"])
            galleries.append(Gallery(name, drawings.colour_class(y), odd, plain))
    return galleries


def _card(row: int, score: float, columns: Columns, thumbnails: Mapping[int, bytes]) -> Card:
    picture = data_uri(thumbnails[row]) if row in thumbnails else ""
    uri = columns.uris[row]
    return Card(picture, PurePath(uri).name, uri, decimal(score, 2))
