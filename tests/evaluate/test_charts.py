"""Drawings of a report: what their numbers are."""

from __future__ import annotations

import pytest

from mirada.evaluate.charts import bars_of


def test_bins_that_fall_into_one_bar_are_counted_together() -> None:
    bars = bars_of([(0.12, 0.5, 10), (0.15, 1.0, 4), (0.95, 0.9, 10)])
    assert [(right, wrong) for _, _, right, wrong in bars] == [(9, 5), (9, 1)]
    assert [low for low, *_ in bars] == pytest.approx([0.1, 0.9])
