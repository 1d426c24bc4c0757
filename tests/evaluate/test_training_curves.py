"""How a network was trained, as the report shows it."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mirada.evaluate.line_charts import Axis, Frame, epoch_axis, linear_axis, log_axis, share_axis
from mirada.evaluate.metrics import evaluate
from mirada.evaluate.report import ReportContext, render_html, report_json, write_html
from mirada.evaluate.training_curves import StageSpan, TrainingCurves, training_part
from mirada.messages import use_language
from mirada.types import EvalReport

EPOCHS = range(1, 13)
CURVES = TrainingCurves(
    figures={
        "train_loss": [(e, 2.0 / e) for e in EPOCHS],
        "val_loss": [(e, 2.0 / e + 0.01 * max(0, e - 7)) for e in EPOCHS],
        "val_accuracy": [(e, 0.9 - 0.5 / e) for e in EPOCHS],
        "lr": [(e, 0.003 * (1 - e / 13)) for e in EPOCHS],
        "seconds": [(e, 1.5) for e in EPOCHS],
        "cpu_percent": [(e, 190.0) for e in EPOCHS],
        "rss_mb": [(e, 900.0 + e) for e in EPOCHS],
    },
    stages=(StageSpan("head", 1, 4), StageSpan("all of <b>it</b>", 5, 12)),
    best_epoch=7,
)


@pytest.fixture(scope="module")
def judged() -> EvalReport:
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], 40)
    return evaluate(probs, np.arange(40) % 3, class_names=("a", "b", "c"), n_boot=50)


def test_a_network_has_its_curves(judged: EvalReport, tmp_path: Path) -> None:
    page = write_html(tmp_path / "r.html", judged, context=ReportContext(training=CURVES)).read_text(encoding="utf-8")
    assert "How it was trained" in page
    assert "epoch 7" in page
    assert "<b>it</b>" not in page
    assert "style=" not in page.replace("<style>", ""), "the page's policy forbids styles of elements"
    assert report_json(judged, context=ReportContext(training=CURVES))["context"]["training"]["best_epoch"] == 7  # type: ignore[index]


def test_a_head_has_none(judged: EvalReport) -> None:
    assert "How it was trained" not in render_html(judged, context=ReportContext())
    assert training_part(None) is None
    assert training_part(TrainingCurves()) is None


def test_the_best_epoch_is_marked_where_it_is() -> None:
    part = training_part(CURVES)
    assert part is not None
    assert [len(part.large), len(part.small), len(part.rows)] == [2, 3, 12]
    for panel in part.large:
        drawing = ET.fromstring(panel.drawing)
        line = drawing.find("polyline[@class='line line-val']")
        assert line is not None
        places = [tuple(float(v) for v in place.split(",")) for place in line.attrib["points"].split()]
        assert len(places) == 12
        dot, upright = drawing.find("circle"), drawing.find("line[@class='ideal']")
        assert dot is not None
        assert upright is not None
        assert (float(dot.attrib["cx"]), float(dot.attrib["cy"])) == places[6]
        assert float(upright.attrib["x1"]) == places[6][0]
    assert "85.7" not in part.large[1].caption
    assert "82.9" in part.large[1].caption


def test_stages_are_bands() -> None:
    part = training_part(CURVES)
    assert part is not None
    drawing = ET.fromstring(part.large[0].drawing)
    (band,) = drawing.findall("rect[@class='stretch']")
    assert float(band.attrib["x"]) + float(band.attrib["width"]) == pytest.approx(46 + 300, abs=0.1)
    words = [text.text for text in drawing.findall("text[@class='tick']")]
    assert {"head", "all of <b>it</b>"} <= set(words)
    assert part.rows[0][:2] == ("1", "head")
    assert [part.rows[i][5] for i in (0, 11)] == ["0.0028", "2.3e-4"]
    alone = training_part(replace(CURVES, stages=CURVES.stages[:1]))
    assert alone is not None
    assert "stretch" not in alone.large[0].drawing


@pytest.mark.parametrize(
    "figures",
    [
        {"train_loss": [(1, 0.7)]},
        {"train_loss": [(1, 0.7), (2, math.nan)], "val_accuracy": [(1, 1.0), (2, 1.0)]},
        {"train_loss": [(e, 1e-9) for e in range(1, 400)], "lr": [(e, 0.0) for e in range(1, 400)]},
        {"lr": [(1, 0.1)]},
    ],
)
def test_odd_trainings_are_drawn(figures: dict[str, list[tuple[int, float]]]) -> None:
    part = training_part(TrainingCurves(figures=figures, best_epoch=1))
    assert part is not None
    for panel in (*part.large, *part.small):
        for text in ET.fromstring(panel.drawing).iter():
            assert "nan" not in " ".join(text.attrib.values())
    with use_language("es"):
        spanish = training_part(TrainingCurves(figures={"train_loss": [(1, 0.75)]}))
    assert spanish is not None
    assert spanish.rows[0][-1] == "0,7500"


def test_axes_are_round_and_hold_all() -> None:
    axis = linear_axis([0.313, 0.94], str)
    assert axis.low <= 0.313
    assert axis.high >= 0.94
    assert 3 <= len(axis.ticks) <= 7
    assert (axis.at(axis.low), axis.at(axis.high)) == (0.0, 1.0)
    assert [value for value, _ in epoch_axis(100).ticks] == [1, 20, 40, 60, 80, 100]
    for values in ([1.0], [0.0, 0.0], [0.31, 1.0], [0.955, 0.999], [0.5]):
        shares = share_axis(values)
        assert 0 <= shares.low <= min(values) <= max(values) <= shares.high <= 1
        assert len({words for _, words in shares.ticks}) == len(shares.ticks) >= 3
    log = log_axis(90, 5000, str)
    assert log.at(math.sqrt(90 * 5000)) == pytest.approx(0.5)
    assert all(90 <= value <= 5000 for value, _ in log.ticks)
    assert Frame(Axis(0, 1, ()), Axis(0, 1, ())).line([], "x") == ""
