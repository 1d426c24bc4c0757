"""The state of a run on disk: one safetensors file, replaced at once, that knows whose it is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mirada.models.base import Network
from mirada.models.recipe import Recipe
from mirada.training.outcome import EpochRecord, Labels, LoopData, StageStop
from mirada.training.pixels import Images
from mirada.workspace import storage_errors

NAME = "checkpoint.safetensors"
FORMAT = 1
LOOKED_AT = 256  # photographs whose pixels go into the fingerprint


@dataclass(slots=True)
class Position:
    """How far a run is. `step` is the next one of the epoch, `epoch` the next one of the stage, both from 0.

    `micro`: photographs that go through the network at once, below the stage's batch where memory was short.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    micro: int = 0
    seconds: float = 0.0
    best: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """What a checkpoint holds: tensors by name, where the run was, and what it had told."""

    position: Position
    history: tuple[EpochRecord, ...]
    stops: tuple[StageStop, ...]
    tensors: Mapping[str, torch.Tensor]

    def under(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors whose names begin so, without that beginning."""
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def fingerprint(network: Network, data: LoopData, recipe: Recipe, *, seed: int) -> str:
    """A hash of all that decides what a run ends with: first weights, photographs, recipe, seed.

    Of the photographs, all labels and the pixels of `LOOKED_AT` spread over them are taken in.
    """
    about = asdict(recipe)
    for told in ("name", "summary", "origin", "ratios"):
        about.pop(told)
    digest = hashlib.sha256(json.dumps([FORMAT, about, seed, data.n_classes], sort_keys=True).encode())
    for images, labels in (data.train, data.val or data.train):
        _take_in(digest, images, labels)
    for name, value in network.state_dict().items():
        raw = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        digest.update(f"{name} {tuple(value.shape)} {zlib.crc32(raw)}".encode())
    return digest.hexdigest()


def _take_in(digest: hashlib._Hash, images: Images, labels: Labels) -> None:
    rows = np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int))
    digest.update(f"{images.shape}".encode())
    digest.update(np.ascontiguousarray(labels, dtype=np.int64).tobytes())
    digest.update(np.ascontiguousarray(images[rows]).tobytes())


def save_checkpoint(folder: Path, kept: Kept, *, mark: str) -> Path:
    """Write the state beside its final name, then put it in place at once; an earlier one stays until then.

    Raises StorageError where the disk is full or may not be written.
    """
    about = {
        "mark": mark,
        "position": asdict(kept.position),
        "history": [asdict(record) for record in kept.history],
        "stops": [asdict(stop) for stop in kept.stops],
    }
    put_tensors(folder / NAME, kept.tensors, {"about": json.dumps(about)})
    return folder / NAME


def put_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file whole or not at all. Raises StorageError where the disk refuses."""
    part = path.with_name(f"{path.name}.part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(part, {name: value.detach().contiguous() for name, value in tensors.items()}, metadata)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None) -> None:
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:  # it keeps the system's number in its sentence alone
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def load_checkpoint(folder: Path, *, mark: str) -> Kept | None:
    """The state in a folder; None where it is damaged or of another run. Raises FileNotFoundError for none."""
    path = folder / NAME
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            if about["mark"] != mark:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        history = tuple(EpochRecord(**record) for record in about["history"])
        stops = tuple(StageStop(**stop) for stop in about["stops"])
        return Kept(Position(**about["position"]), history, stops, tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
