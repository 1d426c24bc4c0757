"""The page of what `clean` found: issues with sentences and small pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePath

from mirada.catalog.catalog import Catalog
from mirada.clean.page import Card, IssuePage, Section, render
from mirada.errors import DecodeError
from mirada.exchange.base import Finding
from mirada.exchange.evidence import KINDS
from mirada.imaging.base import REASONS
from mirada.imaging.thumbnail import make_thumbnail
from mirada.messages import Message, msg
from mirada.sources.reader import PhotoReader
from mirada.workflow.cleaning import CheckOutcome, CleanResult
from mirada.workflow.deciding import findings
from mirada.workspace import Workspace, storage_errors, write_atomic

SIDE = 200
WORST = 24
log = logging.getLogger("mirada.workflow")


def write_issue_page(workspace: Workspace, result: CleanResult, path: Path) -> Path:
    """Write the worst open issues of each check of `result` to `path`. Raises StorageError."""
    with Catalog.open(workspace.catalog_url) as catalog:
        sections = [_section(catalog, outcome) for outcome in result.checks.values()]
        wanted = {key for section in sections for card in section.cards for key in (card.sample_id, card.beside) if key}
        thumbnails = _thumbnails(catalog, sorted(wanted))
    page = IssuePage(
        result.n_samples, result.n_rejected, result.seconds["total"], sections, result.notes, thumbnails
    )  # fmt: skip
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, render(page).encode())
    return path


def _section(catalog: Catalog, outcome: CheckOutcome) -> Section:
    cards = [_card(found) for found in islice(findings(catalog, outcome.name), WORST)]
    return Section(outcome.name, outcome.title, outcome.n_issues, cards, outcome.notes)


def _card(found: Finding) -> Card:
    beside = found.evidence.get("copy_of") or found.evidence.get("other")
    name = PurePath(found.uri.partition("#")[0]).name or found.uri
    return Card(
        found.issue_id, found.sample_id, name, found.label, found.score, _reason(found.evidence),
        beside if isinstance(beside, str) else None,
    )  # fmt: skip


def _reason(evidence: Mapping[str, object]) -> Message | None:
    """What speaks for an issue, in a sentence; None where the picture says it."""
    if "suggested" in evidence:
        return msg("Looks like {label}.", label=evidence["suggested"])
    if "reason" in evidence:
        reason = str(evidence["reason"])
        return msg("{text}", text=REASONS.get(reason, reason))
    kinds = evidence.get("kinds") or evidence.get("kind")
    if kinds:
        names = kinds if isinstance(kinds, list | tuple) else [kinds]
        return msg("A copy: {kinds}.", kinds=", ".join(str(KINDS.get(str(name), name)) for name in names))
    return _measured(evidence.get("measured"))


def _measured(measured: object) -> Message | None:
    if not isinstance(measured, dict):
        return None
    values = ", ".join(f"{name} {value}" for name, value in list(measured.items())[:2])
    return msg("{text}", text=values)


def _thumbnails(catalog: Catalog, ids: Sequence[str]) -> dict[str, bytes]:
    reader, made = PhotoReader(), dict[str, bytes]()
    for sample_id, uri in _uris(catalog, ids):
        try:
            made[sample_id] = make_thumbnail(reader.read(uri), side=SIDE)
        except DecodeError as error:
            log.info("no thumbnail of %s: %s", uri, error)  # the page says that there is none
    return made


def _uris(catalog: Catalog, ids: Iterable[str]) -> Iterable[tuple[str, str]]:
    return ((sample_id, sample.uri) for sample_id, sample in catalog.samples_by_id(ids).items())
