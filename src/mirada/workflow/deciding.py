"""Issues as people see them, groups and rules as choices, files in and out: what `mirada decide` works with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mirada.catalog.database import chunked
from mirada.catalog.records import IssueRow
from mirada.errors import InputError, NotFound
from mirada.exchange import label_studio, tables
from mirada.exchange.base import Choice, Finding, Handed
from mirada.exchange.deciding import Outcome, Rules, decide
from mirada.messages import Message, msg
from mirada.sources.uris import absolute, file_uri
from mirada.types import Sample

if TYPE_CHECKING:
    from mirada.catalog.catalog import Catalog

__all__ = ["Outcome", "Rules", "decide", "findings", "findings_of", "group_choices", "photo", "read_file", "write_file"]

FileFormat = Literal["csv", "json", "label-studio"]
DUPLICATES = ("exact_duplicate", "near_duplicate", "leakage")
_LARGEST_FILE = 1 << 30


def findings(
    catalog: Catalog,
    check: str | None = None,
    *,
    after: int | None = None,
    limit: int | None = None,
    open_only: bool = True,
) -> Iterator[Finding]:
    """What `check` (None: every check, in the order of names) flags, worst first, streamed.

    `after`: the id of the last issue seen. Raises NotFound where there is none of it.
    """
    start: tuple[float, int] | None = None
    if after is not None:
        (row,) = catalog.issues_by_id([after])
        start, check = (row.issue.score, row.issue_id), check or row.issue.check
    names = [check] if check is not None else list(catalog.issue_counts())
    rows = (row for name in names for row in catalog.issues(name, after=start, open_only=open_only))
    return islice(findings_of(catalog, rows), limit)


def findings_of(catalog: Catalog, rows: Iterable[IssueRow]) -> Iterator[Finding]:
    """Issues with where their photographs are and the label that they have now, in the same order, streamed."""
    for batch in chunked(rows, 100):
        ids = {row.issue.sample_id for row in batch}
        samples = catalog.samples_by_id(ids)
        rejected = catalog.rejected_by_id(ids - samples.keys())
        for row in batch:
            issue, sample = row.issue, samples.get(row.issue.sample_id)
            refused = rejected.get(issue.sample_id)
            uri = sample.uri if sample is not None else refused.uri if refused is not None else ""
            label, split = (sample.label, sample.split) if sample is not None else (None, None)
            yield Finding(
                row.issue_id, issue.check, issue.sample_id, uri, label, issue.score, issue.evidence, row.is_open, split
            )


def photo(catalog: Catalog, name: str) -> str:
    """The id of the photograph `name`: a sample id, an address as the catalogue has it, or a path.

    Raises NotFound, and InputError where several sources list it.
    """
    if catalog.samples_by_id([name]) or catalog.rejected_by_id([name]):
        return name
    found = catalog.ids_at(name) or catalog.ids_at(file_uri(absolute(name)))
    if not found:
        raise NotFound(
            msg("There is no photograph {name} in the catalogue.", name=name),
            msg("Give its path as it was added, or its sample id."),
        )
    if len(found) > 1:
        raise InputError(
            msg("{name} was added from {n} sources; give its sample id: {ids}.", name=name, n=len(found),
                ids=", ".join(found))
        )  # fmt: skip
    return found[0]


def group_choices(catalog: Catalog, issue_id: int, *, by: str = "", why: str = "") -> list[Choice]:
    """Keep the best of the duplicate group that an issue is about, drop the rest.

    The best is the one the check names, else the `best` of them. Raises NotFound, and InputError for an issue that
    is not about copies.
    """
    (row,) = catalog.issues_by_id([issue_id])
    if row.issue.check not in DUPLICATES:
        raise InputError(
            msg("Issue {issue_id} is of {check}: it has no group of copies.", issue_id=issue_id, check=row.issue.check)
        )
    members = group_members(catalog, row)
    if len(members) < 2:
        raise NotFound(msg("Issue {issue_id} has no copies left to decide on.", issue_id=issue_id))
    kept = best(members, named=row.issue.evidence.get("keep"))
    flagged = {
        other.issue.sample_id: other
        for other in catalog.issues_of([sample.sample_id for sample in members])
        if other.issue.check == row.issue.check and other.issue.is_issue
    }
    choices = []
    for sample in members:
        issue = flagged.get(sample.sample_id)
        action: Literal["keep", "drop"] = "keep" if sample is kept else "drop"
        key = issue.issue_id if issue is not None and issue.is_open else None
        choices.append(Choice(action, None, key, sample.sample_id, row.issue.check, by, why))
    return choices


def group_members(catalog: Catalog, row: IssueRow) -> list[Sample]:
    """The live copies that a duplicate issue is about, its own sample among them, in the order of their ids.

    For exact duplicates those of the same bytes and those that the evidence names, else the whole group.
    """
    own = catalog.samples_by_id([row.issue.sample_id]).get(row.issue.sample_id)
    if own is None:
        return []
    ids = {own.sample_id, *_named(row.issue.evidence), *catalog.ids_of_content(own.content_sha256)}
    if own.group_id is not None and row.issue.check != "exact_duplicate":
        ids |= set(catalog.group_members([own.group_id])[own.group_id])
    statuses = catalog.statuses(ids)
    found = catalog.samples_by_id(key for key, status in statuses.items() if status == "live")
    return [found[key] for key in sorted(found)]


def best(members: Sequence[Sample], *, named: object = None) -> Sample:
    """Which copy to keep: the one `named`, else of test before val before train, labelled, largest, least squeezed.

    Of the test set, because a test photograph must stay; a copy of it in train is the one that leaks.
    """
    for sample in members:
        if sample.sample_id == named:
            return sample
    order = {"test": 0, "val": 1}
    return min(
        members,
        key=lambda s: (order.get(s.split or "", 2), s.label is None, -s.width * s.height, -s.n_bytes, s.uri),
    )


def _named(evidence: object) -> set[str]:
    """The sample ids that evidence names, whatever the key."""
    if isinstance(evidence, str):
        return {evidence}
    if isinstance(evidence, dict):
        return {name for value in evidence.values() for name in _named(value)}
    if isinstance(evidence, list | tuple):
        return {name for value in evidence for name in _named(value)}
    return set()


def read_file(path: Path) -> Handed:
    """The decisions of a file: CSV, JSON, or an export of Label Studio. Raises InputError, NotFound."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(msg("{path} is larger than {n} bytes.", path=path, n=_LARGEST_FILE))
        data = path.read_bytes()
    except OSError as error:
        raise NotFound(msg("Mirada cannot read {path}: {error}.", path=path, error=error.strerror)) from error
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise InputError(msg("{name} is empty.", name=path.name))
    if path.suffix.lower() not in (".json", ".jsonl") and data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"[", b"{"):
        return tables.read_csv(data, path.name)
    rows = _json_rows(data, path)
    if not rows:
        return tables.nothing(path.name)
    if label_studio.is_export(rows):
        return label_studio.read_export(rows, path.name)
    return _table(rows, path.name)


def _json_rows(data: bytes, path: Path) -> list[object]:
    try:
        text = data.decode("utf-8-sig")
        found = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else None
        read = json.loads(text) if found is None else found
    except (ValueError, RecursionError) as error:
        raise InputError(msg("{name} is not JSON: {error}.", name=path.name, error=error)) from error
    return read if isinstance(read, list) else [read]


def _table(rows: Sequence[object], name: str) -> Handed:
    objects = [row for row in rows if isinstance(row, dict)]
    if len(objects) < len(rows):
        raise InputError(msg("{name} must be a list of objects; got a list with other values.", name=name))
    columns = list(dict.fromkeys(key for row in objects for key in row))
    return tables.read_rows(
        enumerate(objects, start=1), columns, name, lambda n: msg("{name}, entry {n}", name=name, n=n)
    )


def write_file(
    catalog: Catalog, found: Iterable[Finding], path: Path, fmt: FileFormat | None = None
) -> tuple[int, list[Message]]:
    """Write issues for somebody to decide on; (how many, what has to be told of it).

    `fmt` None: by the name of the file. Label Studio gets its labelling configuration beside it.
    """
    fmt = fmt or ("json" if path.suffix.lower() == ".json" else "csv")
    if fmt == "csv":
        return tables.write_csv(found, path), []
    if fmt == "json":
        return tables.write_json(found, path), []
    listed = list(found)
    config_path = path.with_name(path.name + ".config.xml")
    root = label_studio.document_root(finding.uri for finding in listed)
    n = label_studio.write_tasks(listed, path, root=root)
    with tables.writing(config_path) as file:
        file.write(label_studio.labelling_config(catalog.class_names()))
    return n, [
        msg("Labelling configuration for the project: {path}", path=config_path),
        msg("Start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}, so that it may show the photographs.", root=root),
    ]  # fmt: skip
