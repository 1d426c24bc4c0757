"""Where a trained network looks: pictures for the report, and of photographs of anybody's choosing.

A bundle holds no torch; the run that made it keeps the weights beside its recipe (`runs/RUN/weights.safetensors`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath

import numpy as np

from mirada.catalog.catalog import Catalog
from mirada.errors import DecodeError, MiradaError, NotFound, UsageError
from mirada.imaging.preprocess import load_input
from mirada.messages import msg
from mirada.sources.reader import PhotoReader
from mirada.sources.uris import absolute, file_uri
from mirada.types import Bundle, Run, WorstSample
from mirada.workflow.extras import by_dotted_name
from mirada.workspace import Workspace, storage_errors, write_atomic

DRAWER = "mirada.training.heatmaps:pictures_of_run"
WEIGHTS_NAME = "weights.safetensors"
PAGE_SIDE, FILE_SIDE = 224, 1024
log = logging.getLogger("mirada.workflow")


@dataclass(frozen=True, slots=True)
class Asked:
    """A photograph, and the class whose reasons are wanted."""

    key: str
    uri: str
    label: str


def heatmaps_of_worst(workspace: Workspace, run: Run, bundle: Bundle, worst: Sequence[WorstSample]) -> dict[str, bytes]:
    """JPEG bytes by sample id: what spoke for each wrong answer; {} where there are none to draw."""
    try:
        return draw(workspace, run, bundle, [Asked(s.sample_id, s.uri, s.prediction) for s in worst], side=PAGE_SIDE)
    except UsageError as error:
        log.info("no heatmaps: %s", error)
    except (MiradaError, RuntimeError) as error:  # the model is registered: a picture must not cost the run
        log.warning("no heatmaps: %s", error)
    return {}


def draw(workspace: Workspace, run: Run, bundle: Bundle, asked: Sequence[Asked], *, side: int) -> dict[str, bytes]:
    """JPEG bytes of at most `side` pixels by key, without photographs that cannot be read.

    Raises UsageError where the run kept no network, or one that does not keep places apart; MissingExtra without torch.
    """
    folder = workspace.runs_path / run.run_id
    if not run.config.plan or not (folder / WEIGHTS_NAME).is_file():
        raise UsageError(
            msg(
                "{model} was not trained as a network here: it has no heatmaps.",
                model=f"{bundle.name}@{bundle.version}",
            ),
            msg("`mirada train --recipe balanced` trains one."),
        )
    reader, found, images = PhotoReader(), list[Asked](), []
    for one in asked:
        try:
            images.append(load_input(reader.read(one.uri), bundle.preprocess))
            found.append(one)
        except DecodeError as error:
            log.warning("no heatmap of %s: %s", one.uri, error)
    if not found:
        return {}
    classes = np.array([bundle.class_names.index(one.label) for one in found], np.int64)
    made: list[bytes] = by_dotted_name(DRAWER)(
        folder, run.config.plan, np.stack(images), classes,
        n_classes=len(bundle.class_names), grey=bundle.preprocess.channels == "grey", side=side,
    )  # fmt: skip
    return {one.key: picture for one, picture in zip(found, made, strict=True)}


def write_heatmaps(
    workspace: Workspace, bundle: Bundle, answers: Iterable[tuple[str, str]], folder: Path
) -> list[Path]:
    """One JPEG in `folder` for each (path, answered class), named after its photograph. Raises as `draw`, NotFound.

    Nothing that is there is written over: the folder may be that of the photographs.
    """
    with Catalog.open(workspace.catalog_url) as catalog:
        run = catalog.run(bundle.run_id)
    asked = [Asked(str(i), file_uri(absolute(path)), label) for i, (path, label) in enumerate(answers)]
    made = draw(workspace, run, bundle, asked, side=FILE_SIDE)
    written = []
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for one in asked:
            if one.key not in made:
                continue
            stem = PurePath(one.uri).stem
            names = (f"{stem}.jpg" if i == 1 else f"{stem}-{i}.jpg" for i in count(1))
            path = next(folder / name for name in names if not (folder / name).exists())
            write_atomic(path, made[one.key])
            written.append(path)
    if asked and not written:
        raise NotFound(msg("None of the photographs could be read again to draw a heatmap of it."))
    return written
