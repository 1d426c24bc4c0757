"""Which photographs may be copies of which: every window and turn of each small picture, looked up among all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mirada.clean.base import Floats, Ints
from mirada.clean.neighbours import Cells, in_threads
from mirada.imaging.lookalike import LOOKALIKE_SIDE

FLAT = 3.0
"""Grey levels of spread below which a small picture says nothing: black, one colour, 1 × 1."""
_FREQUENCIES = 6
_POINTS = 16
_TILT = 0.5
_LEAST = 0.85
_DOUBT = 0.1
_PARTNERS = 8
_CELL = 128
_SLACK = 0.2
_WINDOWS = ((1.0, 1), (0.93, 2), (0.86, 3), (0.78, 4))  # side as a share of the frame, positions along it
_TURNS = tuple(product((0, 1), repeat=3))  # transposed, then flipped along x, along y: the eight of a rectangle


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Pairs that may be copies: a window of photograph `moving` looks like the whole of `template`.

    affine: (n, 2, 3), where a point of the template, both in −1 … 1, lies in the moving picture. likeness: (n,).
    """

    template: Ints
    moving: Ints
    affine: Floats
    likeness: Floats

    def __len__(self) -> int:
        return len(self.template)


def find_candidates(pictures: Floats, *, partners: int = _PARTNERS, seed: int = 0) -> Candidates:
    """Candidates among small pictures (n, LOOKALIKE_DIM), at most `partners` of the best for each of them.

    A picture is told by its lowest cosine frequencies, brightness and contrast apart. Mirroring flips the sign of
    odd ones and a quarter turn swaps the axes, so that each picture is filed once, in the turn in which its first
    frequencies are positive and the horizontal one is larger; what is looked up is turned likewise, in every way
    that these signs leave in doubt. 30 windows of a photograph, from 78 % of a side, stand for its crops.
    """
    pictures = pictures.reshape(-1, LOOKALIKE_SIDE, LOOKALIKE_SIDE)
    n = len(pictures)
    if n < 2:
        nobody = np.zeros(0, np.int64)
        return Candidates(nobody, nobody, np.zeros((0, 2, 3), np.float32), np.zeros(0, np.float32))
    whole = _spectrum(pictures, (0.0, 0.0, 1.0))
    turn = _doubts(whole, 0.0).argmax(axis=1)
    base = np.empty((n, _FREQUENCIES**2), np.float32)
    for t in range(len(_TURNS)):
        base[turn == t] = _turned(whole[turn == t], t)
    cells = Cells(base, n_cells=max(1, n // _CELL), seed=seed)
    best = _Best(n, partners)

    def look_up(number: int) -> list[tuple[Ints, Ints, Floats, int]]:
        spectra = _spectrum(pictures, windows()[number])
        allowed = _doubts(spectra, _DOUBT)
        found = []
        for t in range(len(_TURNS)):
            rows = np.flatnonzero(allowed[:, t])
            asked = _turned(spectra[rows], t)
            for i, j, likeness in cells.hits(asked, min_similarity=_LEAST, slack=_SLACK, most=partners):
                found.append((rows[i], j, likeness, number * len(_TURNS) + t))
        return found

    for found in in_threads(look_up, range(len(windows()))):
        for hits in found:
            best.add(*hits)
    moving, template, likeness, way = best.pairs()
    return Candidates(template, moving, _affines()[way, turn[template]], likeness)


@cache
def windows() -> tuple[tuple[float, float, float], ...]:
    """(left, top, side) of each window, as shares of the frame; the whole first."""
    found = []
    for side, n in _WINDOWS:
        places = np.linspace(0, 1 - side, n) if n > 1 else [0.0]
        found += [(float(x), float(y), side) for y in places for x in places]
    return tuple(found)


class _Best:
    """The most similar partners of each photograph, as windows report them."""

    def __init__(self, n: int, partners: int) -> None:
        self._n, self._partners = n, partners
        self._held: list[tuple[Ints, Ints, Floats, Ints]] = []
        self._n_new, self._limit = 0, 4 * n * partners + 1_000_000

    def add(self, moving: Ints, template: Ints, likeness: Floats, way: int) -> None:
        other = moving != template
        self._held.append((moving[other], template[other], likeness[other], np.full(int(other.sum()), way)))
        self._n_new += int(other.sum())
        if self._n_new > self._limit:
            self._held, self._n_new = [self.pairs()], 0

    def pairs(self) -> tuple[Ints, Ints, Floats, Ints]:
        """(moving, template, likeness, way): each unordered pair once, at its best; what neither side ranks goes."""
        if not self._held:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.int64)
        i, j, likeness, way = (np.concatenate(part) for part in zip(*self._held, strict=True))
        low, high = np.minimum(i, j), np.maximum(i, j)
        order = np.lexsort((way, i, -likeness, low * self._n + high))
        key = (low * self._n + high)[order]
        order = order[np.r_[True, key[1:] != key[:-1]]] if len(key) else order
        i, j, likeness, way = i[order], j[order], likeness[order], way[order]
        keep = _ranks(i, j, likeness) < self._partners
        return i[keep], j[keep], likeness[keep], way[keep]


def _ranks(i: Ints, j: Ints, likeness: Floats) -> Ints:
    """The place of each pair among those of either of its two, the better of both; 0 first."""
    n = len(i)
    who, pair = np.concatenate([i, j]), np.concatenate([np.arange(n), np.arange(n)])
    order = np.lexsort((pair, -np.concatenate([likeness, likeness]), who))
    starts = np.flatnonzero(np.r_[True, np.diff(who[order]) > 0]) if n else np.zeros(0, np.int64)
    place = np.arange(2 * n) - np.repeat(starts, np.diff(np.r_[starts, 2 * n]))
    ranks = np.full(n, 2 * n, np.int64)
    np.minimum.at(ranks, pair[order], place)
    return ranks


def _spectrum(pictures: Floats, window: tuple[float, float, float]) -> Floats:
    """(n, frequencies, frequencies), y then x, of unit length: the lowest cosine frequencies of a window."""
    x, y, side = window
    spectra = np.matmul(np.matmul(_operator(y, side), pictures), _operator(x, side).T)
    order = np.hypot(*np.meshgrid(np.arange(_FREQUENCIES), np.arange(_FREQUENCIES)))
    spectra *= (order**_TILT).astype(np.float32)  # photographs have less of the higher ones; this evens it half out
    spectra[:, 0, 0] = 0
    length = np.sqrt(np.einsum("nyx,nyx->n", spectra, spectra))
    return np.asarray(spectra / np.maximum(length, 1e-6)[:, None, None], np.float32)


@cache
def _operator(start: float, side: float) -> Floats:
    """(frequencies, LOOKALIKE_SIDE): samples a stretch of a row linearly and takes its DCT-II."""
    place = (start + side * (np.arange(_POINTS) + 0.5) / _POINTS) * LOOKALIKE_SIDE - 0.5
    place = np.clip(place, 0, LOOKALIKE_SIDE - 1)
    whole = np.minimum(place.astype(int), LOOKALIKE_SIDE - 2)
    sample = np.zeros((_POINTS, LOOKALIKE_SIDE))
    sample[np.arange(_POINTS), whole] = 1 - (place - whole)
    sample[np.arange(_POINTS), whole + 1] = place - whole
    frequency, position = np.arange(_FREQUENCIES)[:, None], np.arange(_POINTS)[None, :]
    waves = np.cos(np.pi * frequency * (2 * position + 1) / (2 * _POINTS))
    return np.asarray(waves @ sample, np.float32)


def _turned(spectra: Floats, turn: int) -> Floats:
    """(n, frequencies²): the spectra of the pictures transposed, then mirrored, as `_TURNS[turn]` says."""
    transposed, flip_x, flip_y = _TURNS[turn]
    turned = spectra.transpose(0, 2, 1) if transposed else spectra
    sign = np.where(np.arange(_FREQUENCIES) % 2, -1, 1).astype(np.float32)
    turned = (
        turned * (sign if flip_x else np.abs(sign))[None, None, :] * (sign if flip_y else np.abs(sign))[None, :, None]
    )
    return np.asarray(turned.reshape(len(spectra), _FREQUENCIES**2), np.float32)


def _doubts(spectra: Floats, doubt: float) -> NDArray[np.bool_]:
    """(n, 8): in which turns the first frequencies are positive and the horizontal one larger, within `doubt`."""
    x, y = spectra[:, 0, 1], spectra[:, 1, 0]
    allowed = np.empty((len(spectra), len(_TURNS)), bool)
    for t, (transposed, flip_x, flip_y) in enumerate(_TURNS):
        across, down = (y, x) if transposed else (x, y)
        across, down = -across if flip_x else across, -down if flip_y else down
        allowed[:, t] = (across >= -doubt) & (down >= -doubt) & (np.abs(across) >= np.abs(down) - doubt)
    return allowed


@cache
def _affines() -> Floats:
    """(windows × turns, turns, 2, 3): for a way of looking up and the turn of what was found, template → moving."""
    affines = np.zeros((len(windows()) * len(_TURNS), len(_TURNS), 2, 3), np.float32)
    matrices = [_matrix(turn) for turn in _TURNS]
    for (w, (x, y, side)), (t, looked), (f, filed) in product(
        enumerate(windows()), enumerate(matrices), enumerate(matrices)
    ):
        affines[w * len(_TURNS) + t, f, :, :2] = side * looked @ np.linalg.inv(filed)
        affines[w * len(_TURNS) + t, f, :, 2] = 2 * x + side - 1, 2 * y + side - 1
    return affines


def _matrix(turn: tuple[int, ...]) -> NDArray[np.float64]:
    """Where a point of the turned picture comes from."""
    transposed, flip_x, flip_y = turn
    flips = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
    return (np.array([[0.0, 1.0], [1.0, 0.0]]) if transposed else np.eye(2)) @ flips
