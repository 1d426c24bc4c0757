"""Make the backbone that ships in src/mirada/embed/: one run of `mirada distill` with the recorded recipe.

    python tools/make_backbone.py --photos imagenette/train:3 --photos caltech101/train:3 … \
        --teacher mobilenetv2_100=WEIGHTS --teacher deit_tiny_patch16_224=WEIGHTS --held-out imagenette/val … \
        --work DIR [--init src/mirada/embed/mirada-small.onnx] [--views 1000000] [--out FILE] [--export-only]

`--photos FOLDER:VIEWS[:LIMIT]` is a folder, how many views of each photograph, and how many photographs at most. Run
it again after an interruption and it goes on. `--init` starts from a shipped file instead of random weights.
`--export-only` writes the last checkpoint of a run, which may still be going on. A file `PAUSE` in the work folder
holds the run until it is gone. The student is refused where it does worse on the rendered sample than the file that
it would replace.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mirada.embed.backbone import SHIPPED_PATH, Backbone, load_backbone
from mirada.engine.base import Silent
from mirada.errors import MiradaError
from mirada.messages import Message
from mirada.testing import render_sample_set
from mirada.training.distill import DistillConfig, PhotoSet, distill
from mirada.training.distill_check import check_student
from mirada.training.distill_export import export_student
from mirada.training.distill_loop import Distiller, read_checkpoint

SAMPLE_N, SAMPLE_SEED = 300, 7
LICENCE = (
    "Apache-2.0, as Mirada. Trained from random weights on unlabelled photographs (docs/backbone.md names them) and "
    "on the features of mobilenetv2_100 and deit_tiny_patch16_224 (ImageNet-1k, Apache-2.0); it holds no weights of "
    "either."
)


class Log(Silent):
    """Progress as lines on stderr."""

    def start(self, label: Message, total: int | None = None) -> None:
        """Tell what begins."""
        print(label, total or "", file=sys.stderr, flush=True)

    def note(self, message: Message) -> None:
        """Tell what happened."""
        print(message, file=sys.stderr, flush=True)


def clean_sample(folder: Path) -> tuple[list[Path], list[str]]:
    """The rendered sample without its dirt: photographs and their classes."""
    truth = render_sample_set(folder, seed=SAMPLE_SEED, n=SAMPLE_N)
    clean = [photo for photo in truth.photos if not photo.kind]
    return [truth.photos_path / photo.name for photo in clean], [photo.folder for photo in clean]


def recorded_accuracy(path: Path) -> float | None:
    """What the manifest beside `path` says that it reached on the sample."""
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return None
    return float(json.loads(beside.read_text(encoding="utf-8"))["sample_accuracy"])


def ship(candidate: Backbone, out: Path) -> float:
    """Check `candidate`, write its accuracy into its manifest, and put both files in place of `out`."""
    with tempfile.TemporaryDirectory() as folder:
        photos, labels = clean_sample(Path(folder))
        accuracy = check_student(candidate, photos, labels, recorded=recorded_accuracy(out))
    beside = candidate.onnx_path.with_suffix(".json")
    about = json.loads(beside.read_text(encoding="utf-8"))
    about |= {"sample_accuracy": round(accuracy, 4), "sample": {"n": SAMPLE_N, "seed": SAMPLE_SEED}}
    beside.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(candidate.onnx_path, out)
    shutil.copyfile(beside, out.with_suffix(".json"))
    load_backbone(out)
    return accuracy


def photo_set(text: str) -> PhotoSet:
    """FOLDER[:VIEWS[:LIMIT]]."""
    folder, *numbers = text.split(":")
    views, limit = (*map(int, numbers), *(None,) * (2 - len(numbers)))
    return PhotoSet(Path(folder), views or 2, limit)


def teacher(text: str) -> tuple[str, Path | None]:
    """NAME=WEIGHTS, or the path of an ONNX backbone."""
    name, _, weights = text.partition("=")
    return name, Path(weights) if weights else None


def watcher(work: Path) -> Callable[[Distiller], None]:
    """Waits while there is a PAUSE file, and tells the loss now and then."""

    def watch(run: Distiller) -> None:
        while (work / "PAUSE").exists():
            time.sleep(1)
        if run.step % 50 == 0:
            loss = sum(run.losses[-50:]) / 50
            done = f"{time.strftime('%H:%M:%S')} {run.step}/{run.config.n_steps}"
            print(f"{done} loss {loss:.4f}", file=sys.stderr, flush=True)

    return watch


def parsed() -> argparse.Namespace:
    """The command line; the defaults are the recipe of the shipped file."""
    parser = argparse.ArgumentParser(description="Make the shipped backbone.")
    recipe = DistillConfig(
        views=1_200_000, batch=192, muon_lr=0.03, cooldown=0.6, warmup=100, sizes=((0.0, 96), (0.6, 128))
    )
    parser.add_argument("--photos", action="append", type=photo_set, default=[])
    parser.add_argument("--held-out", action="append", type=Path, default=[])
    parser.add_argument("--teacher", action="append", type=teacher, default=[])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED_PATH)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--views", type=int, default=recipe.views)
    parser.add_argument("--seed", type=int, default=recipe.seed)
    parser.add_argument("--export-only", action="store_true")
    parser.set_defaults(recipe=recipe)
    return parser.parse_args()


def main() -> int:
    """Train where needed, export, check, put in place."""
    asked = parsed()
    candidate = asked.work / "candidate.onnx"
    try:
        if asked.export_only:
            student, about = read_checkpoint(asked.work / "checkpoint.safetensors")
            backbone = export_student(student, candidate, licence=LICENCE, about=about)
        else:
            backbone = distill(
                replace(asked.recipe, views=asked.views, seed=asked.seed),
                asked.photos,
                asked.teacher,
                candidate,
                work=asked.work,
                held_out=asked.held_out,
                init=asked.init,
                licence=LICENCE,
                progress=Log(),
                after_step=watcher(asked.work),
            )
        accuracy = ship(backbone, asked.out)
    except MiradaError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(f"{asked.out}: {asked.out.stat().st_size:,} bytes, {accuracy:.3f} on the sample")
    return 0


if __name__ == "__main__":
    sys.exit(main())
