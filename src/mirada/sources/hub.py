"""Data sets on the Hugging Face hub: `hf://owner/name`, read from the Parquet files of their repository.

Files are fetched once into the hub's own cache on this machine; without a network, what is there is used.
The address may end in `@revision`. Where a repository has no Parquet files, the hub's own conversion of it is
taken (its revision `refs/convert/parquet`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, unquote

from mirada.errors import InputError, MissingExtra, NotFound, Unavailable, UsageError
from mirada.messages import msg
from mirada.sources.base import refuse_labels
from mirada.sources.packed import PackedSource, Shard, split_of_shard
from mirada.sources.uris import HUB_SCHEME

_CONVERTED = "refs/convert/parquet"
_ADDRESS = re.compile(
    r"hf://(?:datasets/)?(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/#]+))?(?:/(?P<file>.+))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A repository of a data set at a revision (None: its main one)."""

    repo: str
    revision: str | None = None

    @property
    def uri(self) -> str:
        """As `hf://owner/name[@revision]`."""
        at = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"{HUB_SCHEME}{self.repo}{at}"


def parse_address(uri: str) -> tuple[HubAddress, str | None]:
    """(repository, file within it or None). Raises UsageError for another form."""
    match = _ADDRESS.fullmatch(uri)
    if match is None:
        raise UsageError(
            msg("{uri} is not the address of a data set on the hub.", uri=uri),
            msg("Write hf://owner/name, or hf://owner/name@revision."),
        )
    revision = unquote(match["revision"]) if match["revision"] else None
    return HubAddress(match["repo"], revision), match["file"]


def open_hub(path: str, labels: str | None = None) -> PackedSource:
    """Open `hf://owner/name`, fetching its Parquet files first where they are not here yet.

    Raises MissingExtra without huggingface_hub, NotFound, or Unavailable without a network.
    """
    refuse_labels(labels, "hub")
    address, _ = parse_address(path)
    folder = _fetch(address)
    if not (files := _files(folder)) and address.revision is None:
        address = HubAddress(address.repo, _CONVERTED)
        files = _files(folder := _fetch(address))
    if not files:
        raise InputError(msg("{uri} holds no Parquet files.", uri=path), msg("Download it and add the folder."))
    _refuse_configurations(files, path)
    shards = tuple(Shard(f"{folder}/{file}", f"{address.uri}/{file}", split_of_shard(file)) for file in files)
    return PackedSource(address.uri, shards, "hub")


def looks_like_hub(path: str) -> bool:
    """By its scheme."""
    return path.startswith(HUB_SCHEME)


@lru_cache(maxsize=64)
def local_file(uri: str) -> str:
    """Where the file with this address lies on this machine; fetched where it does not yet."""
    address, file = parse_address(uri)
    return f"{_fetch(address, file)}/{file}"


def _fetch(address: HubAddress, file: str | None = None) -> str:
    """The folder of the repository's snapshot on this machine, with its Parquet files (or the one `file`)."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingExtra(
            msg("Reading {uri} needs the package huggingface_hub.", uri=address.uri),
            msg("Install it with: pip install huggingface_hub"),
        ) from error
    try:
        return str(
            huggingface_hub.snapshot_download(
                address.repo,
                repo_type="dataset",
                revision=address.revision,
                allow_patterns=["*.parquet"] if file is None else [file],
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise NotFound(
            msg("The hub has no data set {uri} that you may read.", uri=address.uri),
            msg("Check the name; for a private one, log in with `hf auth login`."),
        ) from error
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise Unavailable(
            msg("{uri} is not on this machine, and the hub cannot be reached.", uri=address.uri),
            msg("Check the network, or add a folder with the data set's Parquet files."),
        ) from error


def _files(folder: str) -> list[str]:
    """Every Parquet file of a snapshot, relative to it, sorted."""
    found = (file.relative_to(folder) for file in Path(folder).rglob("*.parquet"))
    return sorted(os.fspath(file) for file in found)


def _refuse_configurations(files: list[str], uri: str) -> None:
    """A data set in several configurations holds several data sets; none of them is the obvious one."""
    folders = {file.split("/")[0] for file in files if file.count("/") > 1}
    if len(folders) > 1:
        raise InputError(
            msg("{uri} holds several data sets: {names}.", uri=uri, names=", ".join(sorted(folders))),
            msg("Download the Parquet files of one of them and add their folder."),
        )
