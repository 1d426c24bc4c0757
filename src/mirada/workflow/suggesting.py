"""Labels from nothing: what to ask next, what to confirm in bulk, how good the labels so far make a classifier.

Nothing is kept beside the catalogue: an answer is a decision like any other, and the order of the questions is a
function of the photographs, the labels so far and the seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mirada.catalog.catalog import Catalog
from mirada.embed.backbone import Backbone
from mirada.engine.base import Progress
from mirada.errors import MiradaError, NotEnoughData
from mirada.messages import Message, msg, msg_n
from mirada.suggest.estimate import Estimate, coverage_weights, estimate_accuracy
from mirada.suggest.order import Why, finite_rows, order
from mirada.suggest.proposals import Proposal, overview, propose
from mirada.training.head import Head, fit_head, out_of_fold_probs
from mirada.types import Decision
from mirada.workflow.embedding import embed
from mirada.workspace import Workspace

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
# More labels than this are not needed to choose the next ones; of each class about as many are taken.
MAX_LABELLED = 3_000
# The rest is judged by as many of it: its accuracy is then known to a third of a point.
MAX_JUDGED = 20_000
REASON = "suggest"
# A fifth of the answers changes fewer of the rest's answers than this: they hardly help.
SETTLED = 0.01
TRIALS = 2
MIN_SETTLED = 50


@dataclass(frozen=True, slots=True)
class Question:
    """A photograph to label: its cluster, why it is asked, and the label a head proposes with its probability."""

    sample_id: str
    uri: str
    cluster: int
    why: Why
    label: str | None
    probability: float | None


@dataclass(frozen=True, slots=True)
class BulkProposal:
    """Photographs that probably all are `label`; `name` stands for exactly these photographs and no others."""

    name: str
    cluster: int
    label: str
    confidence: float
    n_agreeing: int
    sample_ids: tuple[str, ...]
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suggestions:
    """The next questions and where one stands.

    `estimate`: of the accuracy on the unlabelled photographs. `change`: the share of their answers that a fifth
    of the labels changes. `settled`: more answers will hardly help.
    """

    questions: tuple[Question, ...]
    proposals: tuple[BulkProposal, ...]
    estimate: Estimate | None
    change: float | None
    settled: bool
    n_labelled: int
    n_unlabelled: int
    class_names: tuple[str, ...]
    notes: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """What is asked about: ids and addresses, embeddings `X` (n, d), `y` (n,) into `names` or -1, and `groups` (n,)."""

    ids: Sequence[str]
    uris: Sequence[str]
    X: Floats
    y: Ints
    names: tuple[str, ...]
    groups: NDArray[np.str_]


def suggest(
    workspace: Workspace, catalog: Catalog, *, backbone: Backbone, n: int = 20, seed: int = 0, progress: Progress
) -> Suggestions:
    """The next `n` photographs to label. Raises NotEnoughData where the workspace holds no photograph.

    Labelled test photographs take no part: what they are must not steer what is learned.
    """
    samples = tuple(s for s in catalog.samples() if s.label is None or s.split != "test")
    if not samples:
        raise NotEnoughData(
            msg("There is no photograph in the workspace to label."),
            msg("Add some: `mirada add PHOTOS`."),
        )
    names = tuple(sorted({s.label for s in samples if s.label is not None}))
    n_labelled = sum(s.label is not None for s in samples)
    n_unlabelled = len(samples) - n_labelled
    if not n_unlabelled:
        done = msg("Every photograph has a label: there is nothing to ask.")
        return Suggestions((), (), None, None, True, n_labelled, 0, names, (done,))
    embedded = embed(workspace, samples, backbone, progress=progress)
    index = {name: i for i, name in enumerate(names)}
    y = np.array([-1 if s.label is None else index[s.label] for s in samples], dtype=np.int64)
    groups = np.array([s.group_id or s.content_sha256 for s in samples])
    found = suggest_rows(
        Pool([s.sample_id for s in samples], [s.uri for s in samples], embedded.vectors, y, names, groups),
        n=n,
        seed=seed,
    )
    return _with_notes(found, embedded.notes)


def answer(catalog: Catalog, answers: Mapping[str, str], *, by: str = "", reason: str = REASON) -> list[int]:
    """Record labels by sample id as decisions, all or none; returns their ids.

    Raises NotFound for an unknown sample, InputError for an empty label.
    """
    return catalog.decide(
        Decision(sample_id, "relabel", new=label, by=by, reason=reason) for sample_id, label in answers.items()
    )


def suggest_rows(pool: Pool, *, n: int, seed: int, judge: bool = True) -> Suggestions:
    """Everything about a pool whose embeddings are there; `judge` False: the questions alone."""
    X, y = pool.X, pool.y
    usable = finite_rows(X)
    taught = _taught(np.where(usable, y, -1), seed=seed)
    open_ = np.flatnonzero(usable & (y < 0))
    head = _head(pool, taught, seed=seed)
    probs = _probs(head, X, usable) if head else None
    asked = order(X, y, probs, n=n, seed=seed, groups=pool.groups)
    clusters = overview(X, seed=seed) if judge else np.full(len(y), -1, dtype=np.int64)
    estimate, change = (None, None)
    proposals: tuple[Proposal, ...] = ()
    if judge and probs is not None and len(open_):
        estimate, change = _judged(pool, taught, open_, probs, seed=seed)
        proposals = propose(clusters, y, probs)
    settled = change is not None and change < SETTLED and estimate is not None and len(taught) >= MIN_SETTLED
    return Suggestions(
        tuple(_question(pool, int(row), why, clusters, probs) for row, why in zip(asked.rows, asked.why, strict=True)),
        tuple(_bulk(pool, proposal) for proposal in proposals),
        estimate,
        change,
        settled,
        int((y >= 0).sum()),
        int((y < 0).sum()),
        pool.names,
        _notes(pool, asked.left_out, n, len(asked.rows)),
    )


def _with_notes(found: Suggestions, notes: Sequence[Message]) -> Suggestions:
    return replace(found, notes=(*notes, *found.notes))


def _taught(y: Ints, *, seed: int) -> Ints:
    """Labelled rows to learn from, in order: at most MAX_LABELLED, of each class about as many."""
    rows = np.flatnonzero(y >= 0)
    if len(rows) <= MAX_LABELLED:
        return rows
    rows = np.random.default_rng(seed).permutation(rows)
    rows = rows[np.argsort(y[rows], kind="stable")]
    rank = np.arange(len(rows)) - np.searchsorted(y[rows], y[rows], side="left")
    return np.sort(rows[np.argsort(rank, kind="stable")[:MAX_LABELLED]])


def _head(pool: Pool, rows: Ints, *, seed: int) -> Head | None:
    if len(np.unique(pool.y[rows])) < 2:
        return None
    return fit_head(pool.X[rows], pool.y[rows], class_names=pool.names, groups=pool.groups[rows], seed=seed)


def _probs(head: Head, X: Floats, usable: NDArray[np.bool_]) -> Floats:
    """Probabilities (n, k); 0 where the embedding is not finite."""
    out = np.zeros((len(X), len(head.class_names)), dtype=np.float32)
    rows = np.flatnonzero(usable)
    for begin in range(0, len(rows), 16_384):
        part = rows[begin : begin + 16_384]
        out[part] = head.probs(X[part])
    return out


def _judged(pool: Pool, taught: Ints, open_: Ints, probs: Floats, *, seed: int) -> tuple[Estimate | None, float | None]:
    """The expected accuracy on the rest, and the share of its answers that a fifth of the labels changes."""
    X, y, groups = pool.X[taught], pool.y[taught], pool.groups[taught]
    if len(open_) > MAX_JUDGED:
        open_ = np.sort(np.random.default_rng(seed).choice(open_, MAX_JUDGED, replace=False))
    try:
        held = out_of_fold_probs(X, y, groups=groups, seed=seed, n_classes=len(pool.names))
        fewer = [_head(pool, taught[held.folds != fold], seed=seed) for fold in range(TRIALS)]
    except MiradaError:
        # A fold without a second class, or all copies of one photograph: too early to say.
        return None, None
    rest = probs[open_]
    answers = rest.argmax(axis=1)
    unseen = pool.X[open_]
    changes = [float((head.logits(unseen).argmax(axis=1) != answers).mean()) for head in fewer if head]
    state = np.concatenate([y, np.full(len(open_), -1)])
    weights = coverage_weights(np.concatenate([X, unseen]), state)
    estimate = estimate_accuracy(held.probs, y, rest, weights=weights, seed=seed)
    return estimate, float(np.mean(changes)) if changes else None


def _question(pool: Pool, row: int, why: Why, clusters: Ints, probs: Floats | None) -> Question:
    best = None if probs is None else int(probs[row].argmax())
    label = None if best is None else pool.names[best]
    probability = None if probs is None or best is None else float(probs[row, best])
    return Question(pool.ids[row], pool.uris[row], int(clusters[row]), why, label, probability)


def _bulk(pool: Pool, proposal: Proposal) -> BulkProposal:
    ids = tuple(pool.ids[row] for row in proposal.rows)
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:5]
    return BulkProposal(
        f"{proposal.cluster}-{digest}",
        proposal.cluster,
        pool.names[proposal.label],
        proposal.confidence,
        proposal.n_agreeing,
        ids,
        tuple(pool.uris[row] for row in proposal.rows),
    )


def _notes(pool: Pool, left_out: Ints, n: int, n_asked: int) -> tuple[Message, ...]:
    notes = []
    unlabelled = int((pool.y[left_out] < 0).sum())
    if unlabelled:
        notes.append(
            msg_n(
                "{n} photograph without a usable embedding cannot be asked.",
                "{n} photographs without a usable embedding cannot be asked.",
                n=unlabelled,
            )
        )
    if n_asked < n:
        notes.append(
            msg_n(
                "Only {n} photograph is left to ask.",
                "Only {n} photographs are left to ask.",
                n=n_asked,
            )
        )
    if len(pool.names) == 1:
        notes.append(msg("All labels so far are {name}: a second class is needed to learn.", name=pool.names[0]))
    return tuple(notes)
