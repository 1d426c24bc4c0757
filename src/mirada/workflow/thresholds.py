"""Moving a threshold over scores that are there already: nothing is computed again."""

from __future__ import annotations

from mirada.catalog.catalog import Catalog
from mirada.clean.store import StoredScores
from mirada.types import Issue


def move_threshold(catalog: Catalog, check: str, stored: StoredScores, threshold: float) -> int:
    """Flag what scores below `threshold` in `check`, and nothing else; returns how many that are.

    Evidence is what the check stored with its issues and near misses; samples further up get none until it runs again.
    """
    below = stored.values < threshold  # also False for NaN
    held = {row.issue.sample_id: row.issue for row in catalog.issues(check, open_only=False)}
    wanted = dict(zip(stored.ids[below].tolist(), stored.values[below].tolist(), strict=True))
    for row in catalog.issues_of(wanted):
        if row.issue.check == check:
            held[row.issue.sample_id] = row.issue
    scored = set(stored.ids.tolist())
    # What is in no row of the scores is a photograph that cannot be read: its score is with its issue.
    scores = wanted | {key: issue.score for key, issue in held.items() if key not in scored and issue.score < threshold}
    catalog.replace_issues(
        check,
        [
            Issue(key, check, score, True, threshold, held[key].evidence if key in held else {})
            for key, score in sorted(scores.items(), key=lambda item: (item[1], item[0]))
        ],
    )
    return len(scores)
