"""The report of a training or an evaluation, with the worst samples as pictures."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path

from mirada.errors import DecodeError
from mirada.evaluate.report import ReportContext, write_html, write_json
from mirada.evaluate.training_curves import TrainingCurves
from mirada.imaging.thumbnail import make_thumbnail
from mirada.sources.reader import PhotoReader
from mirada.training.trained import TrainedNetwork
from mirada.types import EvalReport

THUMBNAIL_SIDE = 224
log = logging.getLogger("mirada.workflow")


def write_report(
    path: Path, report: EvalReport, context: ReportContext, *, heatmaps: Mapping[str, bytes] | None = None
) -> Path:
    """Write the page `path` and, beside it, the same as JSON; returns the page.

    heatmaps: JPEG bytes by sample id, for the worst samples (`mirada.training.heatmaps`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_html(path, report, context=context, thumbnails=_thumbnails(report), heatmaps=heatmaps)
    write_json(path.with_suffix(".json"), report, context=context)
    return path


def training_curves(trained: TrainedNetwork | None) -> TrainingCurves | None:
    """What the report shows of a network's training; None for a head."""
    if trained is None:
        return None
    figures: dict[str, list[tuple[int, float]]] = {}
    for point in trained.curves:
        if math.isfinite(point.value):  # JSON knows no other numbers
            figures.setdefault(point.name, []).append((point.step, point.value))
    return TrainingCurves(figures=figures, stages=trained.stages, best_epoch=trained.best_epoch)


def _thumbnails(report: EvalReport) -> Mapping[str, bytes]:
    reader, made = PhotoReader(), dict[str, bytes]()
    for sample in report.worst:
        try:
            made[sample.sample_id] = make_thumbnail(reader.read(sample.uri), side=THUMBNAIL_SIDE)
        except DecodeError as error:
            # The page says that there is no picture; the figures do not depend on it.
            log.warning("no thumbnail of %s: %s", sample.uri, error)
    return made
