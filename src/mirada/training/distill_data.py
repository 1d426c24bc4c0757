"""Views of unlabelled photographs and what each teacher says of them, computed once and kept on disk.

A photograph is decoded once. Its first view is the whole photograph (short side resized, centre cut), as it
is embedded later; further views are random resized crops (Szegedy et al. 2015). Teachers and student see the
same crop: the teacher at its own size, the student at `side`, from one uint8 memory map per photo set.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mirada.engine.base import Progress
from mirada.errors import DecodeError, InputError, NotEnoughData
from mirada.imaging.decode import decode, read_file
from mirada.messages import msg

LOG = logging.getLogger("mirada.training")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif"})
CHUNK = 64  # photographs between two marks of progress on disk
Pixels = NDArray[np.uint8]


class Teacher(Protocol):
    """A network to learn from."""

    @property
    def name(self) -> str:
        """Its name, a file name too."""
        ...

    @property
    def sha256(self) -> str:
        """The hash of its weights: other weights give other features."""
        ...

    @property
    def dim(self) -> int:
        """Length of its embedding."""
        ...

    @property
    def input_size(self) -> int:
        """Side of its square input in pixels."""
        ...

    def features(self, images: Pixels) -> NDArray[np.float32]:
        """Embeddings (n, dim) of uint8 images (n, input_size, input_size, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """A folder of unlabelled photographs; `limit` takes a seeded sample of that many."""

    folder: Path
    n_views: int = 2
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """Rows of one or more photo sets: pixels (n, side, side, 3) uint8, features by teacher (n, d) float16."""

    pixels: tuple[Pixels, ...]
    features: tuple[dict[str, NDArray[np.float16]], ...]
    rows: NDArray[np.int64]  # (n_valid, 2): which set, which row in it

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, index: NDArray[np.int64]) -> Pixels:
        """uint8 (len(index), side, side, 3)."""
        return np.stack([self.pixels[part][row] for part, row in self.rows[index]])

    def targets(self, teacher: str, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 (len(index), d) of one teacher."""
        return np.stack([self.features[part][teacher][row] for part, row in self.rows[index]]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """How views are cut; part of the key under which they are kept."""

    side: int = 160
    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    seed: int = 0


def list_photos(photo_set: PhotoSet, *, seed: int, exclude: frozenset[str] = frozenset()) -> list[Path]:
    """Photographs of a folder in a fixed order, without those whose content hash is in `exclude`.

    Raises InputError where the folder holds none.
    """
    found = sorted(path for path in photo_set.folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if exclude:
        found = [path for path in found if content_hash(path) not in exclude]
    if not found:
        raise InputError(
            msg("{folder} holds no photographs to learn from.", folder=photo_set.folder),
            msg("Give a folder with JPEG, PNG, WebP or similar files in it or below it."),
        )
    if photo_set.limit is not None and photo_set.limit < len(found):
        chosen = np.random.default_rng(seed).choice(len(found), photo_set.limit, replace=False)
        found = [found[i] for i in sorted(chosen)]
    return found


def content_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content_hashes(folders: Iterable[Path]) -> frozenset[str]:
    """Hashes of all photographs below `folders`: held-out data that must not be learned from."""
    return frozenset(
        content_hash(path)
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def prepare_views(
    photo_sets: Sequence[PhotoSet],
    teachers: Sequence[Teacher],
    work: Path,
    *,
    spec: ViewSpec,
    exclude: frozenset[str] = frozenset(),
    progress: Progress,
) -> Views:
    """Render every view and ask every teacher, or take up where an earlier call stopped.

    Unreadable photographs are told and left out. Raises NotEnoughData where fewer than 8 views remain.
    """
    parts = [_prepare_set(part, teachers, work, spec=spec, exclude=exclude, progress=progress) for part in photo_sets]
    rows = [
        np.stack([np.full(len(valid), i, np.int64), valid], axis=1)
        for i, (_, _, flags) in enumerate(parts)
        for valid in [np.flatnonzero(flags).astype(np.int64)]
    ]
    views = Views(tuple(p[0] for p in parts), tuple(p[1] for p in parts), np.concatenate(rows))
    if len(views) < 8:
        raise NotEnoughData(msg("Only {n} views of readable photographs: at least 8 are needed.", n=len(views)))
    return views


def _prepare_set(
    photo_set: PhotoSet,
    teachers: Sequence[Teacher],
    work: Path,
    *,
    spec: ViewSpec,
    exclude: frozenset[str],
    progress: Progress,
) -> tuple[Pixels, dict[str, NDArray[np.float16]], NDArray[np.bool_]]:
    paths = list_photos(photo_set, seed=spec.seed, exclude=exclude)
    n_views = photo_set.n_views
    names = [path.relative_to(photo_set.folder).as_posix() for path in paths]
    key = {"photos": names, "n_views": n_views, "spec": asdict(spec), "teachers": {t.name: t.sha256 for t in teachers}}
    folder = work / "views" / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    n = len(paths) * n_views
    pixels: Pixels = _array(folder / "pixels.npy", (n, spec.side, spec.side, 3), np.uint8)
    features = {t.name: _array(folder / f"{t.name}.npy", (n, t.dim), np.float16) for t in teachers}
    valid: NDArray[np.bool_] = _array(folder / "valid.npy", (n,), np.bool_)
    sizes = sorted({teacher.input_size for teacher in teachers})
    start = _done(folder)
    progress.start(msg("Views of {folder}", folder=photo_set.folder.name), len(paths))
    progress.advance(start)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(start, len(paths), CHUNK):
            chunk = list(enumerate(paths))[first : first + CHUNK]
            rendered = list(pool.map(lambda item: _render(item[1], item[0], n_views, spec, sizes), chunk))
            good = [i for i, views in enumerate(rendered) if views is not None]
            index = np.array([(first + i) * n_views + v for i in good for v in range(n_views)], np.int64)
            kept = [views for views in rendered if views is not None]
            if kept:
                pixels[index] = np.concatenate([views[0] for views in kept])
                for teacher in teachers:
                    images = np.concatenate([views[1 + sizes.index(teacher.input_size)] for views in kept])
                    features[teacher.name][index] = teacher.features(images).astype(np.float16)
            valid[index] = True
            _mark_done(folder, first + len(chunk))
            progress.advance(len(chunk))
    progress.finish()
    n_bad = len(paths) - int(valid.sum()) // n_views
    if n_bad:
        progress.note(msg("{n} photographs in {folder} cannot be read and are left out.", n=n_bad, folder=folder.name))
    return pixels, features, valid


def _array(path: Path, shape: tuple[int, ...], dtype: Any) -> Any:
    """A memory-mapped array, made of zeros where it does not exist yet."""
    if path.is_file():
        kept = np.lib.format.open_memmap(path, mode="r+")
        if kept.shape == shape and kept.dtype == dtype:
            return kept
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _done(folder: Path) -> int:
    mark = folder / "done.json"
    return int(json.loads(mark.read_text(encoding="utf-8"))["done"]) if mark.is_file() else 0


def _mark_done(folder: Path, n: int) -> None:
    part = folder / "done.json.part"
    part.write_text(json.dumps({"done": n}), encoding="utf-8")
    part.replace(folder / "done.json")


def _render(path: Path, position: int, n_views: int, spec: ViewSpec, sizes: Sequence[int]) -> list[Pixels] | None:
    """Views at the student's side and at every teacher's size, each (n_views, s, s, 3); None: unreadable."""
    try:
        shown = decode(read_file(path), min_side=2 * max(spec.side, *sizes)).pixels
    except DecodeError as error:
        LOG.info("left out %s: %s", path, error)
        return None
    image = Image.fromarray(shown)
    boxes = list(_boxes(image.width, image.height, n_views, spec, np.random.default_rng((spec.seed, position))))
    return [
        np.stack([np.asarray(image.resize((s, s), Image.Resampling.BICUBIC, box=box)) for box in boxes])
        for s in (spec.side, *sizes)
    ]


def _boxes(
    width: int, height: int, n_views: int, spec: ViewSpec, rng: np.random.Generator
) -> Iterator[tuple[float, float, float, float]]:
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    yield (left, top, left + short, top + short)
    for _ in range(n_views - 1):
        area = width * height * rng.uniform(*spec.scale)
        ratio = float(np.exp(rng.uniform(*np.log(spec.ratio))))
        w, h = min(width, (area * ratio) ** 0.5), min(height, (area / ratio) ** 0.5)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        yield (x, y, x + w, y + h)
