"""One photograph in: hash, decode, reject, fingerprint. `add`, uploads and the API all come through here.

Adding streams: photographs that the catalogue has unchanged are passed over, the others are read by the
engine's workers and committed in blocks. A kill costs the block in hand; the next run does the rest.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

from mirada.catalog.catalog import Catalog
from mirada.engine.base import Engine, Progress, Silent
from mirada.errors import NotEnoughData
from mirada.imaging.decode import REASONS, Limits
from mirada.intake import FINGERPRINT_SIDE, Intake, Onlooker, sample_id
from mirada.messages import msg
from mirada.sources.base import Source, SourceInfo
from mirada.sources.uris import shown
from mirada.types import Photo, Rejected, Sample, SplitName

_BLOCK = 1000
_MOST_LISTED = 1000
# Rejections that are tried again although the file has not changed: rights and limits may have.
_PASSING = frozenset(["no_permission", "too_many_pixels", "too_many_bytes", "too_long_side"])

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AddReport:
    """What adding a source did. ``n_listed == n_added + n_known + n_changed + n_rejected``.

    `n_changed`: in the catalogue before, with other bytes, another label or split. `n_known`: had already, also
    those rejected before. `rejected`: new rejections, the first thousand; `rejected_by_reason` counts them all.
    `by_class`: photographs that the source lists, by label (None: without) and split (None: not given).
    `n_duplicates`: samples in the catalogue whose bytes an earlier sample has too. `n_unreadable`: rejected, now
    or before.
    """

    info: SourceInfo
    n_listed: int
    n_added: int
    n_known: int
    n_changed: int
    n_rejected: int
    rejected: tuple[Rejected, ...]
    rejected_by_reason: Mapping[str, int]
    by_class: Mapping[str | None, Mapping[SplitName | None, int]]
    n_duplicates: int
    n_unreadable: int
    seconds: float


def ingest(
    catalog: Catalog,
    source: Source,
    *,
    engine: Engine,
    progress: Progress | None = None,
    limits: Limits | None = None,
    onlooker: Onlooker | None = None,
) -> AddReport:
    """Bring the catalogue up to date with `source`. Doing it again is a no-op; a killed run is finished by the next.

    onlooker: shown the pixels of what is new, while they are decoded. Raises NotEnoughData where no photograph of
    the source can be read.
    """
    return _Adding(catalog, source, engine, progress or Silent(), limits or Limits(), onlooker).run()


class _Adding:
    """One run of `ingest`: its counts and what waits to be committed."""

    def __init__(
        self,
        catalog: Catalog,
        source: Source,
        engine: Engine,
        progress: Progress,
        limits: Limits,
        onlooker: Onlooker | None,
    ) -> None:
        self._catalog = catalog
        self._source = source
        self._engine = engine
        self._progress = progress
        self._limits = limits
        self._onlooker = onlooker
        side, see = (FINGERPRINT_SIDE, None) if onlooker is None else (onlooker.side, onlooker.see)
        self._intake = Intake(limits, side, see)
        self._n: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._listed: list[Rejected] = []
        self._retried: set[str] = set()

    def run(self) -> AddReport:
        """Everything, from the census to the report."""
        start = time.perf_counter()
        info = self._source.describe()
        # Taken before anything is read: what changes meanwhile is seen by the next run.
        signature = f"{self._source.signature()} {self._limits}"
        by_class = _census(self._source.photos())
        n_listed = sum(splits.total() for splits in by_class.values())
        if self._catalog.source_signature(self._source.name) == signature:
            self._n["known"] = n_listed
        else:
            self._add_all(n_listed)
            # Rights leave no trace in a signature, so that a source with closed files is looked at each time.
            if not self._n["closed"]:
                self._catalog.set_source_signature(self._source.name, signature)
        self._refuse_if_none_readable(n_listed)
        return AddReport(
            info=info,
            n_listed=n_listed,
            n_added=self._n["added"],
            n_known=self._n["known"],
            n_changed=self._n["changed"],
            n_rejected=self._n["rejected"],
            rejected=tuple(self._listed),
            rejected_by_reason=dict(self._reasons),
            by_class=by_class,
            n_duplicates=sum(len(copies) - 1 for copies in self._catalog.duplicates_by_content()),
            n_unreadable=sum(1 for _ in self._catalog.rejected(self._source.name)),
            seconds=time.perf_counter() - start,
        )

    def _refuse_if_none_readable(self, n_listed: int) -> None:
        name = self._source.name
        if self._catalog.counts()["by_source"].get(name):
            return
        reasons = Counter(rejected.reason for rejected in self._catalog.rejected(name))
        found = ", ".join(f"{REASONS.get(code, code)} ({n})" for code, n in reasons.most_common())
        raise NotEnoughData(
            msg(
                "None of the {n} photographs in {path} can be read: {reasons}",
                n=n_listed,
                path=shown(name),
                reasons=found,
            ),
            msg("Open one of them in a picture viewer to see what it is."),
        )

    def _add_all(self, n_listed: int) -> None:
        rejections = self._catalog.rejected(self._source.name)
        self._retried = {rejected.uri for rejected in rejections if rejected.reason in _PASSING}
        self._progress.start(msg("Reading photographs"), n_listed)
        try:
            waiting: list[Sample | Rejected] = []
            for taken in self._engine.map(self._intake, self._tasks()):
                waiting.append(taken.row)
                if self._onlooker is not None and taken.seen is not None and isinstance(taken.row, Sample):
                    self._onlooker.keep(taken.row.content_sha256, taken.seen)
                if len(waiting) >= _BLOCK:
                    self._commit(waiting)
                    waiting = []
            self._commit(waiting)
        finally:
            self._progress.finish()
            if self._onlooker is not None:
                self._onlooker.flush()

    def _tasks(self) -> Iterator[Photo]:
        """Photographs to read; those that the catalogue has unchanged are passed over."""
        for block in _batched(self._source.photos(), _BLOCK):
            known = self._catalog.known([photo.uri for photo in block], self._source.name)
            wanted = [photo for photo in block if photo.uri in self._retried or not _is_same(photo, known)]
            had = [photo for photo in block if photo.uri not in self._retried and _is_same(photo, known)]
            self._relabel(had)
            yield from wanted

    def _relabel(self, had: Sequence[Photo]) -> None:
        """Photographs whose file is unchanged, but perhaps not what the source says of them."""
        if not had:
            return
        ids = {sample_id(photo.source, photo.uri): photo for photo in had}
        samples = self._catalog.samples_by_id(ids)
        other = [
            replace(sample, label=photo.label, label_source=photo.label and "source", split=photo.split)
            for key, sample in samples.items()
            if (sample.label, sample.split) != ((photo := ids[key]).label, photo.split)
        ]
        # A decision or a saved split differs from the source too: the catalogue tells which is which.
        counts = self._catalog.add(other, ())
        self._n["changed"] += counts.n_changed
        self._n["known"] += len(had) - counts.n_changed
        self._progress.advance(len(had))

    def _commit(self, done: Sequence[Sample | Rejected]) -> None:
        samples = [item for item in done if isinstance(item, Sample)]
        rejected = [item for item in done if isinstance(item, Rejected)]
        counts = self._catalog.add(samples, rejected)
        fresh = [item for item in rejected if item.uri not in self._retried]
        self._n += Counter(added=counts.n_added, changed=counts.n_changed, rejected=len(fresh))
        self._n["closed"] += sum(item.reason == "no_permission" for item in rejected)
        self._n["known"] += counts.n_known + len(rejected) - len(fresh)
        self._reasons.update(item.reason for item in fresh)
        self._listed += fresh[: _MOST_LISTED - len(self._listed)]
        self._progress.advance(len(done))


def _census(photos: Iterable[Photo]) -> dict[str | None, Counter[SplitName | None]]:
    """How many photographs a source lists, by label and split."""
    counts = Counter((photo.label, photo.split) for photo in photos)
    by_class: dict[str | None, Counter[SplitName | None]] = {}
    for (label, split), n in sorted(counts.items(), key=lambda item: (item[0][0] or "", item[0][1] or "")):
        by_class.setdefault(label, Counter())[split] = n
    return by_class


def _is_same(photo: Photo, known: Mapping[str, tuple[int | None, int | None]]) -> bool:
    """Whether the catalogue has this file at this size and time of change. A row's size is not known unread."""
    if photo.uri not in known:
        return False
    n_bytes, mtime_ns = known[photo.uri]
    return mtime_ns == photo.mtime_ns and photo.n_bytes in (None, n_bytes)


def _batched(items: Iterable[T], n: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, n)):
        yield batch
