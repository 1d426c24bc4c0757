"""What checks need, made once for all of them: one pass over the photographs, groups, neighbours, probabilities."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.clean.base import Floats, Ints, Material, Need, Scores
from mirada.clean.duplicates import NearDuplicate
from mirada.clean.neighbours import nearest
from mirada.embed.backbone import Backbone
from mirada.embed.cache import open_cache
from mirada.embed.embed import Failure
from mirada.embed.looks import BOTH, Want, look
from mirada.embed.vino import resolve_precision
from mirada.engine.base import Progress
from mirada.errors import NotEnoughData
from mirada.messages import Message, msg, msg_n
from mirada.sources.reader import PhotoReader
from mirada.training.head import out_of_fold_probs
from mirada.types import Precision, Sample
from mirada.workflow.data import engine, limits
from mirada.workspace import Workspace

N_NEIGHBOURS = 20
MOST_COPIES = 44  # of one photograph that are looked past
# What is made from what: asking for the left one asks for the right ones too.
_MADE_FROM: dict[Need, tuple[Need, ...]] = {
    "groups": ("lookalike",),
    "neighbours": ("embeddings", "groups", "lookalike"),
    "pred_probs": ("embeddings", "groups", "lookalike"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """The material, what could not be read, and what has to be told. scores: of checks that ran to make it."""

    material: Material
    failures: tuple[Failure, ...] = ()
    notes: tuple[Message, ...] = ()
    scores: Mapping[str, Scores] = field(default_factory=dict)


def all_needs(needs: Collection[Need]) -> frozenset[Need]:
    """`needs` and what they are made from."""
    return frozenset(needs).union(*(_MADE_FROM.get(need, ()) for need in needs))


def supply(
    workspace: Workspace,
    catalog: Catalog,
    needs: Collection[Need],
    *,
    backbone: Callable[[], Backbone],
    progress: Progress,
    lap: Callable[[str], None],
    precision: Precision | None = None,
    seed: int = 0,
) -> Supply:
    """Everything of `needs` for the live samples of the catalogue.

    backbone: called only where embeddings are wanted. lap: told the name of each stage when it is done.
    """
    wanted = all_needs(needs)
    material = _bare(catalog, seed=seed, rejected="rejected" in wanted)
    material = replace(material, read=_reading(workspace))
    failures: tuple[Failure, ...] = ()
    notes: list[Message] = []
    scores: dict[str, Scores] = {}
    if wanted & {"stats", "lookalike", "embeddings"}:
        material, failures = _looked(workspace, material, wanted, backbone, precision=precision, progress=progress)
        notes += _failure_notes(failures)
        lap("look")
    if "groups" in wanted:
        near = NearDuplicate()
        progress.start(msg("Checking: {title}", title=near.title))
        copies = near.run(material)
        progress.finish()
        scores[near.name] = copies
        material = replace(material, groups=copies.found.groups)
        lap(near.name)
    if "neighbours" in wanted:
        progress.start(msg("Finding the nearest photographs"))
        material = replace(material, neighbours=nearest(_present(material.embeddings), _n_neighbours(material)))
        progress.finish()
        lap("neighbours")
    if "pred_probs" in wanted:
        progress.start(msg("Asking classifiers that have not seen them"))
        probs, told = out_of_fold(material)
        progress.finish()
        material = replace(material, pred_probs=probs)
        notes += told
        lap("pred_probs")
    return Supply(material, failures, tuple(notes), scores)


def _n_neighbours(material: Material) -> int:
    """Enough that copies of a photograph, which do not count as its neighbours, leave others."""
    if material.groups is None or not len(material.groups):
        return N_NEIGHBOURS
    largest = int(np.unique(material.groups, return_counts=True)[1].max())
    return N_NEIGHBOURS + min(largest - 1, MOST_COPIES)


def _bare(catalog: Catalog, *, seed: int, rejected: bool) -> Material:
    samples = tuple(catalog.samples())
    names = tuple(sorted({s.label for s in samples if s.label is not None}))
    index = {name: i for i, name in enumerate(names)}
    y = np.array([-1 if s.label is None else index[s.label] for s in samples], dtype=np.int64)
    return Material(samples, names, y, rejected=tuple(catalog.rejected()) if rejected else (), seed=seed)


def _reading(workspace: Workspace) -> Callable[[Sample], bytes]:
    reader = PhotoReader(limits=limits(workspace))
    return lambda sample: reader.read(sample.uri)


def _looked(
    workspace: Workspace,
    material: Material,
    wanted: frozenset[Need],
    backbone: Callable[[], Backbone],
    *,
    precision: Precision | None,
    progress: Progress,
) -> tuple[Material, tuple[Failure, ...]]:
    chosen = backbone() if "embeddings" in wanted else None
    used = resolve_precision(precision or workspace.config.text("embed.precision"))
    cache = open_cache(workspace.embeddings_path, chosen, used) if chosen is not None else None
    views: list[Want] = [name for name in BOTH if name in wanted]
    with engine(workspace) as pool:
        seen = look(
            material.samples, reader=PhotoReader(limits=limits(workspace)), engine=pool,
            cache_root=workspace.looks_path, limits=limits(workspace), progress=progress, backbone=chosen,
            embedding_cache=cache, precision=used, want=views,
        )  # fmt: skip
    made = replace(material, stats=seen.stats, lookalike=seen.lookalike, embeddings=seen.vectors)
    return made, seen.failures


def _failure_notes(failures: Sequence[Failure]) -> list[Message]:
    if not failures:
        return []
    first = failures[0]
    return [
        msg_n(
            "{n} photograph could not be looked at: {uri} ({reason}).",
            "{n} photographs could not be looked at, such as {uri} ({reason}).",
            n=len(failures), uri=first.sample.uri, reason=first.error.message,
        ),
        msg("`mirada add` of the same folder brings the catalogue up to date."),
    ]  # fmt: skip


def _present(vectors: Floats | None) -> Floats:
    return np.empty((0, 0), np.float32) if vectors is None else vectors


def out_of_fold(material: Material) -> tuple[Floats, list[Message]]:
    """(n, k), NaN rows where there is no label, no embedding, or nothing to compare with."""
    X, y = _present(material.embeddings), material.y
    n, k = len(y), len(material.class_names)
    probs = np.full((n, max(k, 1)), np.nan, np.float32)
    rows: NDArray[np.int64] = np.flatnonzero((y >= 0) & np.isfinite(X).all(axis=1))
    # By content, so that folds do not depend on the folder that the photographs happen to lie in.
    rows = rows[np.argsort([material.samples[row].content_sha256 for row in rows.tolist()], kind="stable")]
    classes, dense = np.unique(y[rows], return_inverse=True)
    if len(classes) < 2:
        return probs, []  # the checks that wanted them say so
    groups: Ints = np.arange(n) if material.groups is None else material.groups
    try:
        found = out_of_fold_probs(
            X[rows], dense, groups=_by_first(groups[rows]), n_classes=len(classes), seed=material.seed
        )
    except NotEnoughData as error:
        return probs, [error.message]
    probs[rows] = 0.0
    probs[np.ix_(rows, classes)] = found.probs
    return probs, list(found.notes)


def _by_first(groups: Ints) -> Ints:
    """Groups numbered in the order in which they first come."""
    _, first, dense = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[dense], np.int64)
