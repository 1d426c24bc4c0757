"""Where a batch's pixels move to: mirrors and whole-pixel shifts by one gather, everything else by one resampling.

Photographs come as uint8 (n, S, S, 3). What is drawn comes as numpy arrays from the CPU; the work is done where the
photographs are.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Floats = NDArray[np.float32]


def mirror_and_shift(
    images: torch.Tensor, mirrored: NDArray[np.bool_] | None, shift: NDArray[np.int64] | None
) -> torch.Tensor:
    """uint8 (n, S, S, 3) to the same: some mirrored left to right (n,), then moved by (down, right) pixels (n, 2).

    What moves in is the reflection of what was there, the edge itself not repeated.
    """
    n, side = images.shape[:2]
    along = torch.arange(side, device=images.device)
    rows, columns = along.expand(n, side), along.expand(n, side)
    if shift is not None:
        down, right = torch.from_numpy(shift.T[:, :, None].copy()).to(images.device)  # (n, 1) each
        rows, columns = _reflected(rows - down, side), _reflected(columns - right, side)
    if mirrored is not None:
        columns = torch.where(torch.from_numpy(mirrored[:, None]).to(images.device), side - 1 - columns, columns)
    first = torch.arange(n, device=images.device)[:, None] * side
    index = ((first + rows) * side)[:, :, None] + columns[:, None, :]  # (n, S, S)
    # A pixel a time: on a CPU three times as quick as indexing with three arrays.
    return images.reshape(-1, 3).index_select(0, index.view(-1)).view(images.shape)


def _reflected(index: torch.Tensor, side: int) -> torch.Tensor:
    """Indices from 1 - side to 2 * side - 2 brought to 0 … side - 1."""
    return (side - 1) - ((side - 1) - index.abs()).abs()


def resized(images: torch.Tensor, side: int) -> torch.Tensor:
    """uint8 (n, S, S, 3) to float (n, 3, side, side), 0 to 255, channels last; smoothed where it shrinks."""
    batch = images.permute(0, 3, 1, 2)  # channels last without a copy
    if batch.shape[-1] == side:
        return batch.float()
    if batch.device.type != "cpu":  # only the CPU resizes bytes, and does it several times as quick as floats
        batch = batch.float()
    batch = functional.interpolate(batch, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return batch.float().contiguous(memory_format=torch.channels_last)


def warped(images: torch.Tensor, affine: Floats, side: int) -> torch.Tensor:
    """uint8 (n, S, S, 3) to float (n, 3, side, side), 0 to 255, channels last, by one bilinear resampling.

    affine (n, 2, 3) takes (x, y, 1) of the output to the photograph, both from -1 to 1; outside, it is reflected. A
    photograph that shrinks is sampled from a copy halved often enough (the nearest mip level, Williams 1983).
    """
    scale = np.sqrt(np.abs(np.linalg.det(affine[:, :, :2]))) * images.shape[1] / side
    level = np.maximum(0, np.rint(np.log2(np.maximum(scale, 1e-6)))).astype(np.int64)
    if not level.any():
        return sampled(images.permute(0, 3, 1, 2).float(), affine, side)
    out = torch.empty(
        (len(images), 3, side, side), device=images.device, memory_format=torch.channels_last, dtype=torch.float32
    )
    for depth in np.unique(level).tolist():
        mine = np.flatnonzero(level == depth)
        at = torch.from_numpy(mine).to(images.device)
        source = resized(images.index_select(0, at), max(1, round(images.shape[1] / 2**depth)))
        put_rows(out, at, sampled(source, affine[mine], side))
    return out


def sampled(x: torch.Tensor, affine: Floats, side: int) -> torch.Tensor:
    """Float (n, 3, S, S), 0 to 255, to (n, 3, side, side), channels last; see `warped`."""
    grid = _grid(torch.from_numpy(affine).to(x.device), side)
    out = functional.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return out.clamp_(0, 255).contiguous(memory_format=torch.channels_last)


def _grid(theta: torch.Tensor, side: int) -> torch.Tensor:
    """(n, side, side, 2), as `affine_grid` makes, in a fifth of its time: a column's part and a row's part added."""
    along = (torch.arange(side, device=theta.device) * 2 + 1) / side - 1
    grid = torch.empty((len(theta), side, side, 2), device=theta.device)
    for axis in range(2):
        by_column, by_row, shift = theta[:, axis].T[:, :, None]  # (n, 1) each
        torch.add((by_row * along + shift)[:, :, None], (by_column * along)[:, None, :], out=grid[..., axis])
    return grid


def take_rows(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """x[at] of (n, c, h, w), which stays channels last: index_select alone would turn it round, slowly."""
    return x.permute(0, 2, 3, 1).index_select(0, at).permute(0, 3, 1, 2)


def put_rows(x: torch.Tensor, at: torch.Tensor, new: torch.Tensor) -> None:
    """x[at] = new for (n, c, h, w), channels last."""
    x.permute(0, 2, 3, 1).index_copy_(0, at, new.permute(0, 2, 3, 1))


def identity(n: int) -> Floats:
    """(n, 2, 3) that change nothing."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (n, 1, 1))


def rotations(degrees: NDArray[np.float64], zoom: NDArray[np.float64]) -> Floats:
    """(n, 2, 3) that turn about the centre by degrees (n,) and enlarge the sides `zoom` times (n,)."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    zero = np.zeros_like(cos)
    return np.stack([cos, -sin, zero, sin, cos, zero], 1).reshape(-1, 2, 3).astype(np.float32)


def random_crops(n: int, smallest: float, rng: np.random.Generator) -> Floats:
    """(n, 2, 3) that cut a window of `smallest` to 1 of the area, 3:4 to 4:3 in shape (Szegedy et al. 2015)."""
    area = rng.uniform(smallest, 1, n)
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), n))
    size = np.minimum(1, np.sqrt(np.stack([area * ratio, area / ratio], 1)))  # (n, 2): width, height of 1
    crops = np.zeros((n, 2, 3), np.float32)
    crops[:, [0, 1], [0, 1]] = size
    crops[:, :, 2] = (1 - size) * rng.uniform(-1, 1, (n, 2))
    return crops


def composed(outer: Floats, inner: Floats) -> Floats:
    """(n, 2, 3) that do `inner` first on the output's coordinates, then `outer`."""
    out = outer[:, :, :2] @ inner
    out[:, :, 2] += outer[:, :, 2]
    return np.ascontiguousarray(out, np.float32)
