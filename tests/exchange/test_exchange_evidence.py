"""What a table says of each issue, by what the checks leave as evidence."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mirada.exchange.base import Finding
from mirada.exchange.evidence import because


def told(evidence: Mapping[str, object]) -> str | None:
    found = because(Finding(1, "x", "me", "/photos/food/1.jpg", "food", 0.1, evidence))
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        ({}, None),
        ({"label": "food"}, None),
        ({"suggested": "menu", "p_suggested": 0.934}, "looks like menu (93 %)"),
        ({"suggested": "menu"}, "looks like menu"),
        ({"reason": "empty", "uri": "/photos/food/1.jpg"}, "The file is empty."),
        ({"reason": "odd {thing}"}, "odd {thing}"),
        ({"copy_of": "you", "uri": "/photos/food/2.jpg", "kinds": ["cropped", "mirrored"]},
         "copy of 2.jpg (cropped, mirrored)"),
        ({"copy_of": "you", "uri": "/photos/menu/1.jpg", "kinds": []}, "copy of menu/1.jpg"),
        ({"members": ["me", "you"]}, "copy of you"),
        ({"part": "test", "copy_of": "you", "uri": "/p/2.jpg", "other_part": "train", "kind": "near"},
         "copy of 2.jpg in train"),
        ({"part": "test", "copy_of": "you", "uri": "/p/2.jpg", "other_part": "train", "kind": "bytes"},
         "copy of 2.jpg in train (the same bytes)"),
        ({"uri": "/p/set.parquet#7"}, "copy of 7"),
        ({"neighbours": [{"sample_id": "you", "similarity": 0.4567, "label": "menu"}]},
         "the nearest is of menu, similarity 0.46"),
        ({"neighbours": [{"sample_id": "you", "similarity": 0.4567, "label": None}]},
         "the nearest has similarity 0.46"),
        ({"neighbours": []}, None),
        ({"measured": {"sharpness": 0.01, "contrast": 1}, "usual": {"sharpness": {"low": 0.2, "high": 0.9}}},
         "sharpness 0.01, here mostly 0.20 to 0.90"),
        ({"measured": {"width": 9, "long_by_short": 7.5}, "usual": {"long_by_short": {"low": None}}},
         "longer side by shorter side 7.50"),
        ({"measured": {"new_one": 1}}, "new one 1.00"),
    ],
)  # fmt: skip
def test_what_speaks_for_an_issue(evidence: Mapping[str, object], says: str | None) -> None:
    assert told(evidence) == says
