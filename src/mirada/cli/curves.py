"""What ``mirada train --learning-curve`` says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mirada.cli.output import Result, progress, table
from mirada.messages import Message, msg

if TYPE_CHECKING:
    from mirada.workflow.learning_curve import CurveResult
    from mirada.workflow.train import TrainRequest
    from mirada.workspace import Workspace


def measure_curve(workspace: Workspace, request: TrainRequest, html: Path | None) -> Result:
    """Measure, write the page where one is asked for, and tell."""
    from mirada.evaluate.learning_curve_page import CurveContext, write_curve_page
    from mirada.workflow.learning_curve import learning_curve

    made = learning_curve(workspace, request, progress=progress())
    if html is not None:
        source = request.source or str(workspace.path)
        write_curve_page(html, made.curve, CurveContext(made.subject, source, made.notes))
    return Result(curve_document(made, html), curve_lines(made, html))


def curve_document(made: CurveResult, html: Path | None) -> dict[str, object]:
    """What a program is told."""
    curve = made.curve
    return {
        "subject": made.subject,
        "class_names": list(made.class_names),
        "n": dict(made.n),
        "n_test": curve.n_test,
        "sizes": [dataclasses.asdict(size) for size in curve.sizes],
        "law": None if curve.law is None else dataclasses.asdict(curve.law),
        "forecasts": [dataclasses.asdict(forecast) for forecast in curve.forecasts],
        "verdict": curve.verdict,
        "told": [str(message) for message in curve.told],
        "notes": [str(note) for note in made.notes],
        "seconds": made.seconds,
        "report": None if html is None else str(html),
    }


def curve_lines(made: CurveResult, html: Path | None) -> list[str | Message]:
    """What a person is told."""
    from mirada.evaluate.learning_curve_page import HEAD, law_sentence, size_row

    law = law_sentence(made.curve)
    lines: list[str | Message] = [
        msg("Learning curve of {subject}, judged on {n} test photographs", subject=made.subject, n=made.curve.n_test),
        "",
        *table(HEAD, [size_row(size) for size in made.curve.sizes]),
        "",
        *made.curve.told,
        *([law] if law else []),
        *(msg("· {note}", note=note) for note in made.notes),
    ]
    return [*lines, msg("Report:  {path}", path=html)] if html else lines
