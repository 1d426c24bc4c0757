"""One photograph in: hash, decode, reject, fingerprint. What `ingest` maps over many, also in other processes.

Light on purpose: a worker process that starts fresh imports this and no database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mirada.errors import DecodeError
from mirada.imaging.base import Pixels
from mirada.imaging.decode import Decoded, Limits, decode
from mirada.imaging.fingerprint import content_sha256, hash_of_lookalike, perceptual_hash
from mirada.sources.reader import PhotoReader
from mirada.types import Photo, Rejected, Sample

# Enough pixels for the perceptual hash: JPEGs are decoded at a reduced scale down to it.
FINGERPRINT_SIDE = 64
See = Callable[[Pixels], Mapping[str, NDArray[np.float32]]]


class Onlooker(Protocol):
    """Somebody who wants to see the pixels while they are there, so that no photograph is decoded twice."""

    @property
    def side(self) -> int:
        """The least short side, in pixels, that is enough to see."""
        ...

    @property
    def see(self) -> See:
        """Called with uint8 RGB (h, w, 3) on the engine's workers."""
        ...

    def keep(self, content_sha256: str, seen: Mapping[str, NDArray[np.float32]]) -> None:
        """What was seen of a photograph, in order, on the calling thread."""
        ...

    def flush(self) -> None:
        """A block of photographs is in the catalogue."""
        ...


def sample_id(source: str, uri: str) -> str:
    """The id of the photograph at `uri` in `source`: 20 hexadecimal digits, the same on every machine."""
    return hashlib.sha256(f"{source}\0{uri}".encode()).hexdigest()[:20]


def ingest_photo(photo: Photo, data: bytes | DecodeError, limits: Limits | None = None) -> Sample | Rejected:
    """What becomes of one photograph: `data` is its encoded bytes, or the reason why they could not be read."""
    return _taken(photo, data, limits or Limits()).row


@dataclass(frozen=True, slots=True)
class Taken:
    """What becomes of a photograph, and what an onlooker saw of it."""

    row: Sample | Rejected
    seen: Mapping[str, NDArray[np.float32]] | None = None


def _taken(
    photo: Photo, data: bytes | DecodeError, limits: Limits, *, side: int = FINGERPRINT_SIDE, see: See | None = None
) -> Taken:
    if isinstance(data, DecodeError):
        return Taken(_rejected(photo, data, photo.n_bytes))
    try:
        decoded = decode(data, min_side=side, limits=limits)
    except DecodeError as error:
        return Taken(_rejected(photo, error, len(data)))
    seen = None if see is None else see(decoded.pixels)
    made = None if seen is None else seen.get("lookalike")
    phash = perceptual_hash(decoded.pixels) if made is None else hash_of_lookalike(made)
    return Taken(_sample(photo, data, decoded, phash), seen)


def _sample(photo: Photo, data: bytes, decoded: Decoded, phash: int) -> Sample:
    return Sample(
        sample_id=sample_id(photo.source, photo.uri),
        content_sha256=content_sha256(data),
        uri=photo.uri,
        source=photo.source,
        width=decoded.width,
        height=decoded.height,
        mode=decoded.mode,
        format=decoded.format,
        n_bytes=len(data),
        label=photo.label,
        label_source=None if photo.label is None else "source",
        split=photo.split,
        phash=phash,
        mtime_ns=photo.mtime_ns,
    )


class Intake:
    """Reads and ingests a photograph: the function that workers map. A process makes one, with one reader."""

    def __init__(self, limits: Limits, side: int, see: See | None) -> None:
        self._limits, self._side, self._see = limits, side, see
        self._reader = PhotoReader(limits=limits)

    def __call__(self, photo: Photo) -> Taken:
        """Read, decode, look; a photograph that cannot be read becomes a rejection."""
        try:
            data: bytes | DecodeError = self._reader.read(photo.uri)
        except DecodeError as error:
            data = error
        return _taken(photo, data, self._limits, side=self._side, see=self._see)

    def __reduce__(self) -> tuple[object, ...]:
        return _intake_of_process, (self._limits, self._side, self._see)


@lru_cache(maxsize=1)
def _intake_of_process(limits: Limits, side: int, see: See | None) -> Intake:
    return Intake(limits, side, see)


def _rejected(photo: Photo, error: DecodeError, n_bytes: int | None) -> Rejected:
    # The catalogue outlives the language of this run; the reason's code is what gets translated.
    detail = error.message.render("en")
    return Rejected(photo.uri, photo.source, error.code, detail, n_bytes, photo.mtime_ns)
