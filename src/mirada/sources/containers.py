"""Files that hold many photographs as rows: Parquet and Arrow. Read a block of rows at a time.

A block is a row group of a Parquet file or a record batch of an Arrow one. Arrow files are mapped into memory,
so that a block costs nothing until its bytes are used.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from mirada.errors import InputError
from mirada.messages import msg
from mirada.sources.base import no_permission
from mirada.sources.columns import IMAGE_NAMES, LABEL_NAMES, SPLIT_NAMES, Columns, named, no_image_column
from mirada.sources.uris import shown

if TYPE_CHECKING:
    import pyarrow as pa

_LISTING_ROWS = 8192


class Block(Protocol):
    """Some rows of a container, in memory."""

    @property
    def n_bytes(self) -> int:
        """What it holds in memory."""
        ...

    def photo(self, index: int) -> bytes | None:
        """The photograph in row `index` of the block; None where the row holds none."""
        ...


class Container(Protocol):
    """A file of rows, cut into blocks. `starts[i]` is the first row of block i; the last entry is the row count."""

    @property
    def starts(self) -> Sequence[int]:
        """First rows of the blocks, and the row count."""
        ...

    def load(self, block: int) -> Block:
        """Read one block."""
        ...


def block_of(starts: Sequence[int], row: int) -> tuple[int, int] | None:
    """(block, row within it) of a row; None where there is no such row."""
    if not 0 <= row < starts[-1]:
        return None
    # Blocks without rows share their start with the next one; bisect_right passes over them.
    block = bisect_right(starts, row) - 1
    return block, row - starts[block]


@dataclass(frozen=True, slots=True)
class Row:
    """What listing a row tells without its bytes. `path` is what the row says of the photograph's file."""

    index: int
    path: str | None
    label: object
    split: object
    has_bytes: bool


class BytesBlock:
    """A block whose photographs are encoded files in a column of bytes."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._chunks = column.chunks
        self._starts = [0, *accumulate(len(chunk) for chunk in self._chunks)]

    @property
    def n_bytes(self) -> int:
        """Size of the Arrow buffers."""
        return sum(int(chunk.nbytes) for chunk in self._chunks)

    def photo(self, index: int) -> bytes | None:
        """The bytes of the row, copied out of the block."""
        place = block_of(self._starts, index)
        if place is None:
            return None
        value = self._chunks[place[0]][place[1]].as_py()
        return None if value is None else bytes(value)


class ArrowTable:
    """What Parquet and Arrow files share: their columns, class names and how rows are told."""

    def __init__(self, path: str, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema

    @cached_property
    def columns(self) -> Columns:
        """The columns of photographs, labels and splits. Raises InputError where none can hold photographs."""
        return _find(self.schema, self.path)

    @property
    def has_bytes(self) -> bool:
        """Whether the column of photographs can hold their bytes, not only their paths."""
        return _bytes_leaf(self.schema.field(self.columns.image).type, self.columns.image) is not None

    @cached_property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of whole-number labels, from the Hugging Face features in the file; None where it has none."""
        features = _hugging_face_features(self.schema)
        feature = features.get(self.columns.label or "")
        names = feature.get("names") if isinstance(feature, Mapping) else None
        if isinstance(names, Mapping):
            names = [names[key] for key in sorted(names, key=int)]
        return tuple(str(name) for name in names) if isinstance(names, list) else None


class ParquetRows(ArrowTable):
    """A Parquet file. `load` reads the photographs of a row group, `rows` lists without them."""

    def __init__(self, path: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        with _readable(path):
            # As bytes, for names that are not UTF-8.
            self._file = pq.ParquetFile(pa.OSFile(os.fsencode(path)))
        super().__init__(path, self._file.schema_arrow)
        meta = self._file.metadata
        self.starts = [0, *accumulate(meta.row_group(i).num_rows for i in range(meta.num_row_groups))]

    def load(self, block: int) -> BytesBlock:
        """Read the photographs of row group `block`."""
        image = self.columns.image
        leaf = _bytes_leaf(self.schema.field(image).type, image) or image
        with _readable(self.path):
            table = self._file.read_row_group(block, columns=[leaf], use_threads=False)
        return BytesBlock(_leaf_column(table, image))

    def rows(self) -> Iterator[Row]:
        """Every row without its bytes, which are read only where some of them may be missing."""
        columns = self.columns
        leaf = _bytes_leaf(self.schema.field(columns.image).type, columns.image)
        wanted = [name for name in (columns.label, columns.split) if name is not None]
        path_leaf = _path_leaf(self.schema.field(columns.image).type, columns.image)
        wanted += [path_leaf] if path_leaf else []
        for group, start in enumerate(self.starts[:-1]):
            whole = leaf is None or self._is_full(group, leaf)
            names = wanted if whole or leaf is None else [*wanted, leaf]
            with _readable(self.path):
                batches = self._file.iter_batches(
                    _LISTING_ROWS, row_groups=[group], columns=names or ([leaf] if leaf else []), use_threads=False
                )
                for batch in batches:
                    yield from _told(batch, start, columns, has_bytes=leaf is not None, whole=whole)
                    start += batch.num_rows

    def _is_full(self, group: int, leaf: str) -> bool:
        """Whether the statistics say that each row of the group has bytes."""
        meta = self._file.metadata.row_group(group)
        for i in range(meta.num_columns):
            column = meta.column(i)
            if column.path_in_schema == leaf:
                stats = column.statistics
                return bool(stats is not None and stats.has_null_count and stats.null_count == 0)
        return False


class ArrowRows(ArrowTable):
    """An Arrow file, stream or random access, mapped into memory."""

    def __init__(self, path: str) -> None:
        import pyarrow as pa

        with _readable(path):
            mapped = pa.memory_map(os.fsencode(path))
            is_file_format = mapped.read(6) == b"ARROW1"
            mapped.seek(0)
            if is_file_format:
                reader = pa.ipc.open_file(mapped)
                self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            else:
                reader = pa.ipc.open_stream(mapped)
                self._batches = list(reader)
        super().__init__(path, reader.schema)
        self.starts = [0, *accumulate(batch.num_rows for batch in self._batches)]

    def load(self, block: int) -> BytesBlock:
        """The photographs of record batch `block`."""
        import pyarrow as pa

        return BytesBlock(_leaf_column(pa.Table.from_batches([self._batches[block]]), self.columns.image))

    def rows(self) -> Iterator[Row]:
        """Every row without its bytes."""
        for start, batch in zip(self.starts, self._batches, strict=False):
            yield from _told(batch, start, self.columns, has_bytes=self.has_bytes, whole=False)


def open_rows(path: str) -> ParquetRows | ArrowRows:
    """Open a container by its name: .parquet or .arrow. Raises InputError where it is damaged."""
    return ArrowRows(path) if path.endswith(".arrow") else ParquetRows(path)


class _readable:  # noqa: N801 - a context manager, used like a function
    """Turn Arrow's errors and the system's into sentences about the file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import pyarrow as pa

        if isinstance(error, PermissionError):
            raise no_permission(self._path) from error
        # OSError: cut in the middle.
        if isinstance(error, (pa.ArrowException, OSError)):
            raise InputError(
                msg("{path} is damaged or not of its format: {error}.", path=shown(self._path), error=error),
                msg("Download or write the file again."),
            ) from error


def _told(batch: pa.RecordBatch, start: int, columns: Columns, *, has_bytes: bool, whole: bool) -> Iterator[Row]:
    import pyarrow as pa

    n = batch.num_rows
    nothing: list[Any] = [None] * n
    image = batch.column(columns.image) if columns.image in batch.schema.names else None
    paths, full = nothing, [has_bytes] * n
    if image is not None and pa.types.is_struct(image.type):
        fields = {image.type.field(i).name: image.field(i) for i in range(image.type.num_fields)}
        paths = fields["path"].to_pylist() if "path" in fields else nothing
        full = fields["bytes"].is_valid().to_pylist() if not whole and "bytes" in fields else full
    elif image is not None and not has_bytes:
        paths = image.to_pylist()
    elif image is not None and not whole:
        full = image.is_valid().to_pylist()
    labels = batch.column(columns.label).to_pylist() if columns.label else nothing
    splits = batch.column(columns.split).to_pylist() if columns.split else nothing
    for i in range(n):
        yield Row(start + i, paths[i], labels[i], splits[i], full[i])


def _find(schema: pa.Schema, path: str) -> Columns:
    """By type first (bytes, or a struct with bytes), then by name (paths in text)."""
    import pyarrow as pa

    holders = [field.name for field in schema if _bytes_leaf(field.type, field.name) is not None]
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    image = named(holders, IMAGE_NAMES) or (holders[0] if holders else None) or named(texts, IMAGE_NAMES)
    if image is None:
        raise no_image_column(schema.names, path)
    rest = [field.name for field in schema if field.name != image and not pa.types.is_nested(field.type)]
    label = named(rest, LABEL_NAMES)
    split = named([name for name in rest if name != label], SPLIT_NAMES)
    if label is None and split is None and len(rest) == 1:
        label = rest[0]
    return Columns(image, label, split)


def _bytes_leaf(kind: pa.DataType, name: str) -> str | None:
    """The Parquet path of the bytes in a column of this type; None where it holds none."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        return f"{name}.bytes" if "bytes" in names and _is_bytes(kind.field(names.index("bytes")).type) else None
    return name if _is_bytes(kind) else None


def _path_leaf(kind: pa.DataType, name: str) -> str | None:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return f"{name}.path" if any(kind.field(i).name == "path" for i in range(kind.num_fields)) else None
    return None if _is_bytes(kind) else name


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _leaf_column(table: pa.Table, image: str) -> pa.ChunkedArray:
    import pyarrow as pa

    column = table.column(image)
    if pa.types.is_struct(column.type):
        return pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], pa.binary())
    return column


def _hugging_face_features(schema: pa.Schema) -> Mapping[str, object]:
    raw = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(raw)["info"]["features"] if raw else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}
