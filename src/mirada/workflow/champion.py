"""Is the new model better than the champion? A paired test on the same test photographs says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mirada.errors import NotFound
from mirada.evaluate.compare import Comparison, compare
from mirada.messages import Message, msg
from mirada.predict.manifest import read_manifest
from mirada.predict.runtime import Predictor
from mirada.types import Bundle
from mirada.workflow.runs import TestPredictions, load_predictions
from mirada.workspace import Workspace

Answers = Callable[[Bundle, Sequence[str]], NDArray[np.float32]]  # (champion, sample ids) -> probabilities (n, k)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a new version becomes champion, and why. `against`: the champion it was compared with."""

    is_better: bool
    message: Message
    against: int | None = None
    comparison: Comparison | None = None


def judge(workspace: Workspace, champion: Bundle | None, new: TestPredictions, answers: Answers) -> Verdict:
    """Compare `new` with the champion on the same photographs; `answers` asks it where it was not asked yet."""
    if champion is None:
        return Verdict(True, msg("It is the first model of its name, so it is the champion: predict and serve use it."))
    if set(champion.class_names) != set(new.class_names):
        return Verdict(
            False,
            msg(
                "The champion, version {version}, knows other classes, so the two cannot be compared; it stays.",
                version=champion.version,
            ),
            against=champion.version,
        )
    old = _champion_probs(workspace, champion, new, answers)
    truth = np.array([new.class_names.index(label) for label in new.labels], dtype=np.int64)
    comparison = compare(new.pred_probs, old, truth)
    return Verdict(comparison.verdict == "a better", _sentence(comparison, champion), champion.version, comparison)


def _champion_probs(
    workspace: Workspace, champion: Bundle, new: TestPredictions, answers: Answers
) -> NDArray[np.float32]:
    """The champion's probabilities on the photographs of `new`, its columns put in the order of `new`."""
    order = [champion.class_names.index(name) for name in new.class_names]
    if read_manifest(Path(champion.path)).quantization is not None:  # what its run answered, another network did
        return answers(champion, new.sample_ids)[:, order]
    try:
        kept = load_predictions(workspace, champion.run_id)
    except NotFound:
        return answers(champion, new.sample_ids)[:, order]
    position = {sample_id: i for i, sample_id in enumerate(kept.sample_ids)}
    probs = np.empty_like(new.pred_probs)
    asked = [sample_id not in position for sample_id in new.sample_ids]
    rows = [position[i] for i in new.sample_ids if i in position]
    columns = [kept.class_names.index(name) for name in new.class_names]
    probs[~np.array(asked)] = kept.pred_probs[rows][:, columns]
    missing = [i for i, unknown in zip(new.sample_ids, asked, strict=True) if unknown]
    if missing:
        probs[np.array(asked)] = answers(champion, missing)[:, order]
    return probs


def _sentence(comparison: Comparison, champion: Bundle) -> Message:
    values = {
        "version": champion.version,
        "difference": abs(100 * comparison.difference.value),
        "p": comparison.p_value,
        "n": comparison.difference.n,
    }
    if comparison.verdict == "a better":
        return msg(
            "Better than the champion, version {version}, "
            "by {difference:.1f} points (p = {p:.2g}, n = {n}). It takes over.",
            **values,
        )
    if comparison.verdict == "b better":
        return msg(
            "Worse than the champion, version {version}, by {difference:.1f} points (p = {p:.2g}, n = {n}): it stays.",
            **values,
        )
    return msg(
        "A tie with the champion, version {version}: {difference:.1f} points apart (p = {p:.2g}, n = {n}); it stays.",
        **values,
    )


def ask(champion: Bundle, photos: Sequence[bytes]) -> NDArray[np.float32]:
    """The champion's probabilities (n, k) for encoded photographs."""
    predictor = Predictor.open(champion.path)
    pixels = []
    for photo in photos:
        loaded = predictor.load(("", photo))
        if loaded.error is not None:
            raise loaded.error
        if loaded.pixels is not None:
            pixels.append(loaded.pixels)
    return predictor.predict_inputs(pixels)
