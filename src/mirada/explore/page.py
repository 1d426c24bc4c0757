"""One self-contained page of what there is.

It needs no network and no font: pictures are data URIs, drawings inline SVG, and the map is drawn by a small script
of the page's own. Its Content-Security-Policy allows that script and the style sheet, each by its hash, and no more.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath

import numpy as np

from mirada.explore import views
from mirada.explore.columns import Columns, Ints
from mirada.explore.drawings import N_COLOURS
from mirada.explore.oddness import Extremes
from mirada.explore.pictures import CELL, Sheets
from mirada.explore.space import Placement
from mirada.explore.summary import Summary
from mirada.explore.words import texts
from mirada.messages import Message, current_language, msg, use_language

TEMPLATES = Path(__file__).parent / "templates"
_MOST_CODED = 65_535


@dataclass(frozen=True, slots=True, eq=False)
class MapPictures:
    """The photographs of the map that can be pointed at. rows: their positions among the columns. cells: the place
    of each in the sheets, -1 where there is no picture.
    """

    rows: Ints
    cells: Ints
    sheets: Sheets


@dataclass(frozen=True, slots=True)
class PageContext:
    """What the page shows beyond the summary; what is left empty is left out.

    thumbnails: encoded WebP by row, for the oddest and the plainest.
    """

    title: str = ""
    subtitle: Sequence[str | Message] = ()
    backbone: str = ""
    placement: Placement | None = None
    pictures: MapPictures | None = None
    extremes: Sequence[Extremes] = ()
    thumbnails: Mapping[int, bytes] = field(default_factory=dict)
    notes: Sequence[Message | str] = ()


def render(
    summary: Summary, columns: Columns, *, context: PageContext | None = None, language: str | None = None
) -> str:
    """The page as text, in `language` ("en", "es"; None: the one in force)."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    told = context or PageContext()
    with use_language(language or current_language()):
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        style, script = _read("explore.css"), _read("explore.js")
        return environment.get_template("explore.html").render(
            style=style,
            style_hash=_hash(style),
            script=script,
            script_hash=_hash(script),
            lang=current_language(),
            text=texts(),
            title=told.title or str(msg("Photographs")),
            subtitle=" · ".join(str(part) for part in told.subtitle if str(part)),
            notes=list(dict.fromkeys(str(note) for note in told.notes)),
            view=views.view(summary, columns, told.extremes, told.thumbnails),
            map=_map(summary, columns, told),
        )


def _map(summary: Summary, columns: Columns, told: PageContext) -> dict[str, object] | None:
    """What the template and the script need of the map; None where nothing has a place."""
    if told.placement is None:
        return None
    xy = told.placement.xy
    rows = np.flatnonzero(np.isfinite(xy).all(axis=1))
    if not len(rows):
        return None
    pictures = told.pictures or MapPictures(np.empty(0, np.int64), np.empty(0, np.int64), Sheets())
    position = np.full(len(xy), -1, np.int64)
    position[rows] = np.arange(len(rows))
    names = [*columns.class_names, texts()["no_label"]]
    coded = np.where(columns.y < 0, len(columns.class_names), columns.y)[rows]
    data = {
        "n": len(rows),
        "xy": _packed(np.round(np.clip(xy[rows], 0, 1) * _MOST_CODED), "<u2"),
        "y": _packed(np.minimum(coded, _MOST_CODED), "<u2"),
        "names": names,
        "nColours": N_COLOURS,
        "noLabel": len(columns.class_names),
        "shown": _packed(position[pictures.rows], "<i4"),
        "cells": _packed(pictures.cells, "<i4"),
        "files": [PurePath(columns.uris[row]).name for row in pictures.rows],
        "sizes": [value for size in pictures.sheets.sizes for value in size],
        "sheets": [_data_uri(sheet) for sheet in pictures.sheets.sheets],
        "cell": CELL,
    }
    classes = [(portrait.name, portrait.n) for portrait in summary.classes]
    index = {name: i for i, name in enumerate(columns.class_names)}
    return {
        # "<" must not end the element that holds the data, whatever a file is called.
        "json": json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c"),
        "n": len(rows),
        "is_sampled": len(pictures.rows) < len(rows),
        "has_pictures": bool(pictures.sheets.sheets),
        "backbone": told.backbone,
        "classes": [views.chip(name, n, index) for name, n in classes],
    }


def _packed(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(kind)).tobytes()).decode("ascii")


def _data_uri(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


@cache
def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
