"""One self-contained HTML report, and the same as JSON.

The page needs no network, no script and no font: pictures are data URIs, drawings are inline SVG, and its
Content-Security-Policy allows nothing but its own style sheet, named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from mirada.evaluate import charts, views
from mirada.evaluate.training_curves import TrainingCurves, training_part
from mirada.evaluate.words import count, decimal, percent, texts
from mirada.messages import Message, current_language, use_language
from mirada.types import EvalReport, Rejected
from mirada.workspace import storage_errors, write_atomic

SCHEMA = "mirada.report/1"
TEMPLATES = Path(__file__).parent / "templates"
Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a report tells beyond the figures; what is left empty is left out.

    `n` is photographs by subset, `seconds` by stage; `histogram` is (low, high, right, wrong) for each bar of
    scores, and is taken from the calibration bins where it is not given. `training`: of a network, epoch by epoch.
    """

    model_name: str = ""
    model_version: int | None = None
    backbone: str = ""
    dataset_id: str = ""
    source: str = ""
    n: Mapping[str, int] = field(default_factory=dict)
    seed: int | None = None
    precision: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    temperature: float | None = None
    reject_threshold: float | None = None
    created_at: str = ""
    rejected: Sequence[Rejected] = ()
    notes: Sequence[Message | str] = ()
    histogram: Sequence[tuple[float, float, int, int]] = ()
    training: TrainingCurves | None = None


def write_html(
    path: Path | str,
    report: EvalReport,
    *,
    context: ReportContext | None = None,
    thumbnails: Mapping[str, bytes] | None = None,
    heatmaps: Mapping[str, bytes] | None = None,
    language: str | None = None,
) -> Path:
    """Write the page; `thumbnails` maps sample_id → WebP bytes, `heatmaps` → JPEG bytes, drawn beside them.

    Returns `path`. Raises StorageError.
    """
    page = render_html(report, context=context, thumbnails=thumbnails, heatmaps=heatmaps, language=language)
    return write_page(Path(path), page)


def render_html(
    report: EvalReport,
    *,
    context: ReportContext | None = None,
    thumbnails: Mapping[str, bytes] | None = None,
    heatmaps: Mapping[str, bytes] | None = None,
    language: str | None = None,
) -> str:
    """The page as text, in `language` ("en", "es"; None: the one in force)."""
    told = context or ReportContext()
    with use_language(language or current_language()):
        worst = list(views.worst_cards(report.worst, thumbnails or {}, heatmaps or {}))
        return render_page("report.html", _values(report, told, worst))


def render_page(template: str, values: Mapping[str, object]) -> str:
    """A page of `TEMPLATES` in the language in force, with the report's style and fixed words beside `values`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = _style()
    return environment.get_template(template).render(
        style=style, style_hash=_hash(style), lang=current_language(), text=texts(), **values
    )


def _values(report: EvalReport, told: ReportContext, worst: Sequence[views.WorstCard]) -> dict[str, object]:
    """Everything the template shows."""
    text = texts()
    bars = told.histogram or charts.bars_of(report.calibration)
    figures = views.figures(report)
    few = len(report.class_names) <= views.MAX_TABLE
    return {
        "title": _title(told) or text["report"],
        "subtitle": " · ".join(part for part in (told.backbone, views.split_line(told.n), told.created_at) if part),
        "footer": text["made_by"],
        "facts": _facts(report, told, text),
        "headline": views.headline(report),
        "figures": [row for row in figures if row.first],
        "more_figures": [row for row in figures if not row.first],
        "class_rows": views.class_rows(report),
        "class_names": report.class_names,
        "matrix": views.matrix(report) if few else None,
        "small_matrix": None
        if few
        else charts.small_matrix(report.confusion, report.class_names, title=text["confusion"]),
        "pairs": views.confused_pairs(report),
        "bins": [(percent(score), percent(share), count(n)) for score, share, n in report.calibration],
        "reliability": charts.reliability(
            report.calibration, x_label=text["score"], y_label=text["right_share"], title=text["calibration"]
        ),
        "histogram": charts.histogram(bars, x_label=text["score"], title=text["distribution"]),
        "worst": worst,
        "has_heat": any(card.heat for card in worst),
        "training": training_part(told.training),
        "rejected": views.rejected_rows(told.rejected) if told.rejected else None,
        "notes": list(dict.fromkeys([*report.notes, *(str(note) for note in told.notes)])),
    }


def _title(told: ReportContext) -> str:
    version = "" if told.model_version is None else f" {told.model_version}"
    return f"{told.model_name}{version}"


def _facts(report: EvalReport, told: ReportContext, text: Mapping[str, str]) -> list[tuple[str, str]]:
    """What was trained on what, as (name, value); empty values are left out."""
    facts = [
        (text["model"], _title(told)),
        (text["backbone"], told.backbone),
        (text["source"], told.source),
        (text["split"], views.split_line(told.n)),
        (text["classes"], count(len(report.class_names))),
        (text["dataset"], told.dataset_id),
        (text["seed"], "" if told.seed is None else str(told.seed)),
        (text["computed_in"], told.precision),
        (text["temperature"], "" if told.temperature is None else decimal(told.temperature, 2)),
        (text["reject_threshold"], percent(told.reject_threshold) if told.reject_threshold else ""),
        (text["time"], views.seconds_line(told.seconds)),
        (text["run"], report.run_id),
        (text["date"], told.created_at),
    ]
    return [(name, value) for name, value in facts if value]


@cache
def _style() -> str:
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    return css.replace("/*heat-light*/", charts.heat_css("light")).replace("/*heat-dark*/", charts.heat_css("dark"))


def _hash(style: str) -> str:
    digest = hashlib.sha256(style.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def report_json(report: EvalReport, *, context: ReportContext | None = None) -> Json:
    """The report as plain data for `json.dumps`; docs/report.md describes it."""
    out: Json = {
        "schema": SCHEMA,
        "run_id": report.run_id,
        "subset": report.subset,
        "n": report.n,
        "class_names": list(report.class_names),
        "metrics": {name: asdict(metric) for name, metric in report.metrics.items()},
        "per_class": {
            name: {key: asdict(metric) for key, metric in figures.items()} for name, figures in report.per_class.items()
        },
        "confusion": [list(row) for row in report.confusion],
        "calibration": [{"score": score, "accuracy": share, "n": n} for score, share, n in report.calibration],
        "worst": [asdict(sample) for sample in report.worst],
        "notes": list(report.notes),
    }
    return out if context is None else {**out, "context": _context_json(context)}


def _context_json(told: ReportContext) -> Json:
    rejected = [{"uri": r.uri, "reason": r.reason, "detail": r.detail} for r in told.rejected]
    return {
        "model": {"name": told.model_name, "version": told.model_version},
        "backbone": told.backbone,
        "dataset_id": told.dataset_id,
        "source": told.source,
        "n": dict(told.n),
        "seed": told.seed,
        "precision": told.precision,
        "seconds": dict(told.seconds),
        "temperature": told.temperature,
        "reject_threshold": told.reject_threshold,
        "created_at": told.created_at,
        "rejected": rejected,
        "notes": [str(note) for note in told.notes],
        "training": None if told.training is None else asdict(told.training),
    }


def write_json(path: Path | str, report: EvalReport, *, context: ReportContext | None = None) -> Path:
    """Write `report_json` as UTF-8. Returns `path`. Raises StorageError."""
    text = json.dumps(report_json(report, context=context), ensure_ascii=False, indent=1, allow_nan=False)
    return write_page(Path(path), text + "\n")


def write_page(target: Path, text: str) -> Path:
    """Write `text` as UTF-8, making the folder. Returns `target`. Raises StorageError."""
    with storage_errors(target):
        if not target.parent.exists():
            target.parent.mkdir(parents=True)
        # A file name that is not valid Unicode reaches us with surrogates, which UTF-8 cannot hold.
        write_atomic(target, text.encode("utf-8", errors="replace"))
    return target
