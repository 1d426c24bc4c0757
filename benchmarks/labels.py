"""How well the queues of wrong labels and of irrelevant photographs are ordered, beside cleanlab's Datalab.

    python -m benchmarks.labels --flip sports15=TRAIN [--flip NAME=FOLDER …] [--dirty FOLDER]
        [--teacher mobilenetv2_100=WEIGHTS …] [--rate 0.05] [--seeds 5] [--cache DIR]

`--flip`: a folder per class. A share of the labels is replaced by another class, drawn evenly; average precision of
the queue, seed by seed, for Mirada and for Datalab given the same embeddings and the same out-of-fold probabilities,
and for Datalab given the embeddings alone. Seconds: of the check alone, in one process, one after the other.
`--dirty`: photos.json, photos/ and truth.csv; how many of the wrong labels stand first in the label queue, and of the
irrelevant photographs in the outlier queue. Copies are told by their bytes here.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import platform
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.backbone import embeddings, labelled
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from mirada.clean.base import Material
from mirada.clean.labels import LabelCheck
from mirada.clean.neighbours import nearest
from mirada.clean.outliers import OutlierCheck
from mirada.embed.backbone import Backbone, BackboneStore, default_backbone
from mirada.errors import DecodeError
from mirada.imaging.decode import read_file
from mirada.imaging.fingerprint import content_sha256
from mirada.imaging.preprocess import load_input
from mirada.release.export import convert_timm
from mirada.training.head import out_of_fold_probs
from mirada.types import Sample

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
N_NEIGHBOURS = 20
LABEL_PLACES, OUTLIER_PLACES = (24, 36), (60, 100)


@dataclass(frozen=True, slots=True)
class Round:
    """One seed: average precisions and seconds."""

    mirada: float
    datalab: float
    datalab_alone: float
    flagged: int
    mirada_s: float
    datalab_s: float


def material(X: Floats, y: Ints, names: list[str], groups: Ints) -> Material:
    """What the checks look at, as `mirada clean` makes it."""
    probs = out_of_fold_probs(X, y, groups=groups, n_classes=len(names), seed=0).probs
    samples = [_sample(i, names[c]) for i, c in enumerate(y.tolist())]
    return Material(
        samples, tuple(names), y, embeddings=X, neighbours=nearest(X, N_NEIGHBOURS), groups=groups, pred_probs=probs
    )


def _sample(i: int, label: str) -> Sample:
    return Sample(str(i), "", str(i), "benchmark", width=1, height=1, mode="RGB", format="JPEG", n_bytes=1, label=label)


def flipped(y: Ints, k: int, rate: float, seed: int) -> tuple[Ints, NDArray[np.bool_]]:
    """Labels with the share `rate` replaced by another class, and which they are."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(y), round(rate * len(y)), replace=False)
    out, wrong = y.copy(), np.zeros(len(y), dtype=bool)
    out[rows] = (y[rows] + rng.integers(1, k, len(rows))) % k
    wrong[rows] = True
    return out, wrong


def datalab_scores(y: Ints, **given: NDArray[np.generic]) -> NDArray[np.float64]:
    """Label quality (n,) as cleanlab's Datalab has it."""
    from cleanlab import Datalab

    with contextlib.redirect_stdout(io.StringIO()):
        lab = Datalab({"label": y}, label_name="label", verbosity=0)
        lab.find_issues(issue_types={"label": {}}, **given)
    return np.asarray(lab.get_issues("label")["label_score"], np.float64)


def one_round(X: Floats, y: Ints, names: list[str], *, rate: float, seed: int) -> Round:
    """Flip, score with both, compare."""
    given, wrong = flipped(y, len(names), rate, seed)
    made = material(X, given, names, np.arange(len(y)))
    start = time.perf_counter()
    ours = LabelCheck().run(made).values
    between = time.perf_counter()
    theirs = datalab_scores(given, features=X, pred_probs=np.asarray(made.pred_probs, np.float64))
    end = time.perf_counter()
    alone = datalab_scores(given, features=X)
    scores = [float(average_precision_score(wrong, -scores)) for scores in (ours, theirs, alone)]
    return Round(*scores, int((ours < LabelCheck().threshold).sum()), between - start, end - between)


def flip_lines(name: str, folder: Path, backbones: dict[str, Backbone], asked: argparse.Namespace) -> None:
    """Print a line a network and seed, and the means."""
    paths, labels = labelled(folder, asked.max_train)
    names, y = np.unique(labels, return_inverse=True)
    for backbone_name, backbone in backbones.items():
        X = embeddings(backbone, paths, asked.cache)
        rounds = [one_round(X, y, names.tolist(), rate=asked.rate, seed=seed) for seed in range(asked.seeds)]
        for seed, r in enumerate(rounds):
            ratio = f"{r.datalab_s / r.mirada_s:.1f}"
            line = f"| {name} | {backbone_name} | {seed} | {r.mirada:.3f} | {r.datalab:.3f} | {r.datalab_alone:.3f} |"
            print(f"{line} {r.flagged} | {ratio} |", flush=True)
        means = [float(np.mean([getattr(r, key) for r in rounds])) for key in ("mirada", "datalab", "datalab_alone")]
        print(f"| {name} | {backbone_name} | **mean** | " + " | ".join(f"**{m:.3f}**" for m in means) + " | | |")


def dirty_line(folder: Path, name: str, backbone: Backbone, cache: Path) -> str:
    """Places of the wrong labels and irrelevant photographs in the queues."""
    listed = [json.loads(line) for line in (folder / "photos.json").read_text().splitlines() if line.strip()]
    kinds = {row["photo_id"]: row["kind"] for row in csv.DictReader((folder / "truth.csv").open())}
    files = {path.stem: path for path in (folder / "photos").iterdir()}
    spec, rows = backbone.preprocess, []
    for photo in listed:
        try:
            data = read_file(files[photo["photo_id"]])
            load_input(data, spec)
        except (KeyError, DecodeError):
            continue
        rows.append((files[photo["photo_id"]], photo["label"], kinds.get(photo["photo_id"], ""), content_sha256(data)))
    names, y = np.unique([row[1] for row in rows], return_inverse=True)
    _, groups = np.unique([row[3] for row in rows], return_inverse=True)
    made = material(embeddings(backbone, [row[0] for row in rows], cache), y, names.tolist(), groups)
    kind = np.array([row[2] for row in rows])
    cells = []
    for check, wanted, places in (
        (LabelCheck(), "label", LABEL_PLACES),
        (OutlierCheck(), "irrelevant", OUTLIER_PLACES),
    ):
        scores = check.run(made).values
        order = np.argsort(scores, kind="stable")
        cells += [str(int((kind[order[:n]] == wanted).sum())) for n in places]
        flagged = scores < check.threshold
        cells.append(f"{int(flagged.sum())}, {int((kind[flagged] == wanted).sum())} true")
    return f"| {name} | {' | '.join(cells)} |"


def _pair(text: str) -> tuple[str, Path]:
    name, _, value = text.partition("=")
    return name, Path(value)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Queues of wrong labels and irrelevant photographs.")
    parser.add_argument("--flip", action="append", type=_pair, default=[], metavar="NAME=FOLDER")
    parser.add_argument("--dirty", type=Path)
    parser.add_argument("--teacher", action="append", type=_pair, default=[], metavar="NAME=WEIGHTS")
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--max-train", type=int, default=None)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "mirada-benchmark")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    import cleanlab

    asked = parsed()
    store, student = BackboneStore(asked.cache), default_backbone()
    teachers = {name: store.resolve(name, weights, convert=convert_timm) for name, weights in asked.teacher}
    backbones = {**teachers, student.name: student}
    print(f"cleanlab {cleanlab.__version__}, Python {platform.python_version()}; {asked.rate:.0%} of labels flipped\n")
    head = "set | network | seed | AP Mirada | AP Datalab | AP Datalab, embeddings alone | flagged | time ratio"
    print(f"| {head} |\n|---|---|---|---:|---:|---:|---:|---:|")
    for name, folder in asked.flip:
        flip_lines(name, folder, backbones, asked)
    if asked.dirty:
        first = [f"wrong labels in first {n}" for n in LABEL_PLACES] + ["label flagged"]
        then = [f"irrelevant in first {n}" for n in OUTLIER_PLACES] + ["outlier flagged"]
        print(f"\n| network | {' | '.join(first + then)} |\n|---{'|---:' * 6}|")
        for name, backbone in backbones.items():
            print(dirty_line(asked.dirty, name, backbone, asked.cache), flush=True)


if __name__ == "__main__":
    main()
