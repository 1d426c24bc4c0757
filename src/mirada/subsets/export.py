"""Photographs out to other tools: a folder tree, a CSV, or a Hugging Face data set; whole, or not at all.

Everything is built beside its place under a hidden name, and renamed when it is complete: a kill leaves nothing
under the final name, and the next export sweeps up. Each photograph is read and its hash compared: one that vanished
or changed since it was added is left out and told. Bytes are copied as they are, but for grey subsets.
"""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from mirada.engine.base import Engine, Progress
from mirada.errors import Conflict, DecodeError, NotEnoughData, UsageError
from mirada.imaging.base import Limits
from mirada.imaging.decode import decode
from mirada.imaging.fingerprint import content_sha256
from mirada.messages import Message, msg, msg_n
from mirada.subsets.names import grey_format
from mirada.types import Sample
from mirada.workspace import storage_errors

Format = Literal["folder", "csv", "huggingface"]
Link = Literal["hard", "symbolic"]
FORMATS: tuple[Format, ...] = get_args(Format)
_QUALITY = 95
_UP_TO_DATE = msg("`mirada add` of the same folder brings the catalogue up to date.")


class Reader(Protocol):
    """Whatever reads a photograph's bytes: `sources.reader.PhotoReader`."""

    def read(self, uri: str) -> bytes:
        """The file's bytes. Raises DecodeError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """Where to and how. link: instead of copying, where the photograph is a file; `title`: of the data set's card."""

    out: Path
    format: Format
    grey: bool = False
    link: Link | None = None
    title: str = "subset"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            allowed = ", ".join(FORMATS)
            raise UsageError(msg("A format is one of {allowed}; got {got!r}.", allowed=allowed, got=self.format))
        if self.link is not None and self.format != "folder":
            raise UsageError(
                msg("--link goes with --format folder; a {format} export has no files to link.", format=self.format),
                msg("Leave out --link."),
            )
        if self.link is not None and self.grey:
            raise UsageError(
                msg("A grey subset cannot be linked: its photographs are written anew, without colour."),
                msg("Leave out --link."),
            )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A photograph that is not in the export; `reason` is a code of `imaging.base.REASONS`, or "changed"."""

    sample: Sample
    reason: str
    message: Message


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. n: photographs by split ("" without one)."""

    path: Path
    format: Format
    n: Mapping[str, int]
    left_out: tuple[LeftOut, ...]
    notes: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A photograph of the export with its bytes, grey where that is asked."""

    sample: Sample
    data: bytes


class Writer(Protocol):
    """Writes one format into `build` (a file for csv, else a folder). `notes`: what to tell at the end."""

    notes: list[Message]

    def add(self, loaded: Loaded) -> None:
        """One photograph more."""
        ...

    def finish(self) -> None:
        """All are in: write what comes last."""
        ...

    def close(self) -> None:
        """Close what is open; safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What every writer needs to know before the first photograph. has_split: each sample is in a part of one."""

    samples: Sequence[Sample]
    request: ExportRequest
    build: Path
    class_names: tuple[str, ...]
    has_split: bool


def export(
    samples: Sequence[Sample],
    request: ExportRequest,
    *,
    reader: Reader,
    engine: Engine,
    progress: Progress,
    limits: Limits | None = None,
) -> Exported:
    """Write `samples`, which have labels, as `request` says.

    Raises Conflict where something is there already, NotEnoughData where no photograph could be read, StorageError
    where the disk refuses; in all of these nothing is left under the final name.
    """
    notes: list[Message] = []
    samples = sorted(samples, key=lambda sample: sample.sample_id)
    has_split = any(sample.split is not None for sample in samples)
    if has_split and request.format != "csv":
        samples = _with_place(samples, notes)
    if not samples:
        raise NotEnoughData(msg("There is no photograph to export."), msg("`mirada subset` lists the subsets."))
    left_out: list[LeftOut] = []
    n: Counter[str] = Counter()
    load = _Load(reader, limits or Limits(), grey=request.grey and request.format != "csv")
    with storage_errors(request.out), _staged(request.out, is_folder=request.format != "csv") as build:
        names = tuple(sorted({str(sample.label) for sample in samples}))
        writer = _writer(Plan(samples, request, build, names, has_split))
        progress.start(msg("Exporting"), len(samples))
        try:
            for loaded in engine.map(load, samples):
                progress.advance()
                if isinstance(loaded, LeftOut):
                    left_out.append(loaded)
                else:
                    writer.add(loaded)
                    n[loaded.sample.split or ""] += 1
            if not n:
                raise NotEnoughData(left_out[0].message, _UP_TO_DATE)
            writer.finish()
        finally:
            progress.finish()
            writer.close()
    notes += writer.notes
    return Exported(request.out, request.format, dict(n), tuple(left_out), (*notes, *_left_out_notes(left_out)))


@dataclass(frozen=True, slots=True)
class _Load:
    """Read, check and (where asked) grey one photograph; runs on the engine's workers."""

    reader: Reader
    limits: Limits
    grey: bool

    def __call__(self, sample: Sample) -> Loaded | LeftOut:
        try:
            data = self.reader.read(sample.uri)
            if content_sha256(data) != sample.content_sha256:
                return LeftOut(sample, "changed", msg("{uri} has changed since it was added.", uri=sample.uri))
            return Loaded(sample, to_grey(data, sample.format, limits=self.limits) if self.grey else data)
        except DecodeError as error:
            told = msg("{uri} cannot be read: {reason}", uri=sample.uri, reason=error.message)
            return LeftOut(sample, error.code, told)


def to_grey(data: bytes, kind: str, *, limits: Limits | None = None) -> bytes:
    """A photograph without colour: luma (ITU-R BT.601), upright, one channel; JPEG of a JPEG, else PNG."""
    from PIL import Image

    grey = Image.fromarray(decode(data, limits=limits or Limits()).pixels).convert("L")
    out = io.BytesIO()
    if grey_format(kind) == "JPEG":
        grey.save(out, "JPEG", quality=_QUALITY)
    else:
        grey.save(out, "PNG")
    return out.getvalue()


def _writer(plan: Plan) -> Writer:
    if plan.request.format == "csv":
        from mirada.subsets.rows import CsvWriter

        return CsvWriter(plan)
    if plan.request.format == "folder":
        from mirada.subsets.folders import FolderWriter

        return FolderWriter(plan)
    from mirada.subsets.huggingface import HuggingFaceWriter

    return HuggingFaceWriter(plan)


def _with_place(samples: Sequence[Sample], notes: list[Message]) -> list[Sample]:
    """Those in train, val or test: beside them, the others could be copies of test photographs."""
    placed = [sample for sample in samples if sample.split is not None]
    if n := len(samples) - len(placed):
        notes.append(
            msg_n(
                "{n} photograph is in none of train, val and test, and is left out; `mirada split` places new ones.",
                "{n} photographs are in none of train, val and test, and are left out; `mirada split` places new ones.",
                n=n,
            )
        )
    return placed


def _left_out_notes(left_out: Sequence[LeftOut]) -> list[Message]:
    if not left_out:
        return []
    return [
        msg_n(
            "{n} photograph was left out. {first}", "{n} photographs were left out, such as: {first}",
            n=len(left_out), first=left_out[0].message,
        ),
        _UP_TO_DATE,
    ]  # fmt: skip


@contextmanager
def _staged(out: Path, *, is_folder: bool) -> Iterator[Path]:
    """A place beside `out` to build in, renamed to `out` at the end of the block and removed where that fails."""
    refuse_taken(out, is_folder=is_folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    build = out.with_name(f".{out.name}.{os.getpid()}.mirada-tmp")
    _remove(build)
    try:
        if is_folder:
            build.mkdir()
        yield build
        refuse_taken(out, is_folder=is_folder)
        build.replace(out)  # onto an empty folder too, in one step
    finally:
        _remove(build)


def refuse_taken(out: Path, *, is_folder: bool) -> None:
    """Raise Conflict where `out` is there already, unless it is an empty folder and a folder is wanted."""
    if not out.exists() and not out.is_symlink():
        return
    if is_folder and out.is_dir() and not out.is_symlink() and not any(out.iterdir()):
        return
    raise Conflict(
        msg("{path} is there already; an export overwrites nothing.", path=out),
        msg("Choose another place with -o, or move it away."),
    )


def _sweep(out: Path) -> None:
    """Remove what killed exports to the same place left; those of living processes stay."""
    prefix, suffix = f".{out.name}.", ".mirada-tmp"
    for entry in out.parent.iterdir():
        pid = entry.name.removeprefix(prefix).removesuffix(suffix)
        if entry.name == f"{prefix}{pid}{suffix}" and pid.isdecimal() and not _is_alive(int(pid)):
            _remove(entry)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
