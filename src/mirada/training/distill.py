"""`mirada distill`: a small backbone learns, from unlabelled photographs, what big ones see in them.

Three steps, each of which takes up where it was stopped: views of the photographs and the teachers' features of
them (`distill_data`), training (`distill_loop`), and the backbone file (`distill_export`), which is checked before
it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mirada.embed.backbone import Backbone, load_backbone
from mirada.engine.base import Progress, Silent
from mirada.errors import UsageError
from mirada.messages import msg
from mirada.training.distill_augment import normalised
from mirada.training.distill_data import PhotoSet, Views, ViewSpec, content_hashes, prepare_views
from mirada.training.distill_eval import Watch, both
from mirada.training.distill_export import export_student
from mirada.training.distill_init import load_student_weights
from mirada.training.distill_loop import DistillConfig, Distiller, read_checkpoint
from mirada.training.distill_teachers import open_teacher
from mirada.training.students import STUDENTS, build_student

__all__ = ["DistillConfig", "PhotoSet", "distill"]

CALIBRATION_VIEWS = 256
CURVE_NAME = "curve.jsonl"


def distill(
    config: DistillConfig,
    photos: Sequence[PhotoSet | Path],
    teachers: Sequence[tuple[str, Path | None]],
    out: Path,
    *,
    work: Path | None = None,
    held_out: Sequence[Path] = (),
    evaluate_on: Sequence[Path] = (),
    evaluate_every: int = 1000,
    init: Path | None = None,
    licence: str = "not stated",
    resume: bool = True,
    progress: Progress | None = None,
    after_step: Callable[[Distiller], None] | None = None,
) -> Backbone:
    """Teach a student and write it as a backbone to `out` (an .onnx path).

    photos: folders of photographs; labels are not read. teachers: (timm name, weights file) or (ONNX path, None).
    work: where views and the checkpoint are kept (default: beside `out`); a second call with `resume` goes on
    there and ends with the same weights as an undisturbed one. held_out: folders whose photographs, byte for byte,
    are left out. evaluate_on: folders with a folder per class, left out too, on which the student is judged by k-NN
    and a linear probe every `evaluate_every` steps; figures go to `work`/curve.jsonl. init: a backbone file of the
    same student, or of a wider one, to start from. after_step: called with the run after every step, to evaluate or
    to stop it.

    Raises InputError, NotEnoughData or UsageError for what was given, BackboneError for teachers that do not fit,
    a loss that is not finite, or a student whose file fails its check.
    """
    if not teachers:
        raise UsageError(msg("Distilling needs at least one teacher."), msg("--teacher NAME --weights FILE"))
    if init is not None:
        load_backbone(init)  # refused here, with a sentence, and not after hours of features
    folder = work or out.with_suffix(".work")
    shown = progress or Silent()
    opened = [open_teacher(name, weights) for name, weights in teachers]
    views = prepare_views(
        [part if isinstance(part, PhotoSet) else PhotoSet(part) for part in photos],
        opened,
        folder,
        spec=ViewSpec(side=_largest_side(config), seed=config.seed),
        exclude=content_hashes([*held_out, *evaluate_on]),
        progress=shown,
    )
    distiller = Distiller(config, views, folder, init=initial_weights(init, config, views) if init else None)
    if resume and distiller.restore():
        shown.note(msg("Taken up at step {step} of {total}.", step=distiller.step, total=config.n_steps))
    if evaluate_on:
        curve = Watch(evaluate_on, folder / CURVE_NAME, every=evaluate_every, seed=config.seed, progress=shown)
        after_step = both(curve, after_step)
    distiller.run(shown, after_step=after_step)
    student, about = read_checkpoint(distiller.checkpoint)
    return export_student(student, out, licence=licence, about=about)


def initial_weights(path: Path, config: DistillConfig, views: Views) -> Mapping[str, torch.Tensor]:
    """The weights in a backbone file, with batch norms set on some of the views."""
    student = build_student(STUDENTS[config.student], seed=config.seed)
    index = np.linspace(0, len(views) - 1, min(CALIBRATION_VIEWS, len(views))).astype(np.int64)
    pixels = torch.from_numpy(views.images(index)).permute(0, 3, 1, 2).float() / 255
    load_student_weights(path, student, normalised(pixels))
    return dict(student.state_dict())


def _largest_side(config: DistillConfig) -> int:
    return max(size for _, size in config.sizes)
