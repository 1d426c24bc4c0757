"""The bytes of a photograph by its uri: a file, or a row of a container."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from mirada.errors import DecodeError, InputError
from mirada.imaging.decode import REASONS, Limits, read_file
from mirada.messages import Message
from mirada.sources.cifar import CifarRows
from mirada.sources.containers import Block, Container, block_of, open_rows
from mirada.sources.hub import local_file
from mirada.sources.uris import HUB_SCHEME, split_row, uri_path

_Stamp = tuple[int, int]


class PhotoReader:
    """Reads photographs by uri. Safe to share between threads.

    Blocks of rows are kept up to `cache_bytes` (the latest one always), so that reading a container in order
    loads each block once; reading it at random works, at the price of loading blocks again.
    """

    def __init__(self, *, limits: Limits | None = None, cache_bytes: int = 256_000_000, n_open: int = 8) -> None:
        self._limits = limits or Limits()
        self._cache_bytes = cache_bytes
        self._n_open = n_open
        self._containers: OrderedDict[str, tuple[_Stamp, Container]] = OrderedDict()
        self._blocks: OrderedDict[tuple[str, int], Block] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, uri: str) -> bytes:
        """The photograph's encoded bytes, whole.

        Raises DecodeError with the reason: missing, no_permission, too_many_bytes, empty, unreadable.
        """
        row = split_row(uri)
        if row is None:
            return read_file(Path(uri_path(uri)), limits=self._limits)
        container, index = row
        # One thread loads a block while the others wait for it: they want the same one.
        with self._lock:
            data = self._row(container, index)
        if not data:
            raise _failure("missing" if data is None else "empty")
        return data

    def _row(self, uri: str, index: int) -> bytes | None:
        container = self._container(uri)
        place = block_of(container.starts, index)
        if place is None:
            return None
        number, inner = place
        key = (uri, number)
        block = self._blocks.get(key)
        if block is None:
            try:
                block = self._blocks[key] = container.load(number)
            except InputError as error:
                raise _failure("unreadable", error.message) from error
            self._forget_blocks()
        self._blocks.move_to_end(key)
        return block.photo(inner)

    def _container(self, uri: str) -> Container:
        """The open container; opened again where its file has changed."""
        path = local_file(uri) if uri.startswith(HUB_SCHEME) else uri_path(uri)
        try:
            stat = os.stat(path)  # noqa: PTH116 - once a photograph: a Path would double the time
        except OSError as error:
            raise _failure("no_permission" if isinstance(error, PermissionError) else "missing") from error
        stamp = (stat.st_size, stat.st_mtime_ns)
        known = self._containers.get(uri)
        if known is not None and known[0] == stamp:
            self._containers.move_to_end(uri)
            return known[1]
        self._forget_container(uri)
        try:
            container: Container = open_rows(path) if path.endswith((".parquet", ".arrow")) else CifarRows(path)
        except InputError as error:
            raise _failure("unreadable", error.message) from error
        self._containers[uri] = (stamp, container)
        while len(self._containers) > self._n_open:
            self._forget_container(next(iter(self._containers)))
        return container

    def _forget_container(self, uri: str) -> None:
        self._containers.pop(uri, None)
        for key in [key for key in self._blocks if key[0] == uri]:
            del self._blocks[key]

    def _forget_blocks(self) -> None:
        while len(self._blocks) > 1 and sum(block.n_bytes for block in self._blocks.values()) > self._cache_bytes:
            self._blocks.popitem(last=False)


def _failure(reason: str, detail: Message | None = None) -> DecodeError:
    return DecodeError(detail or REASONS[reason], code=reason)
