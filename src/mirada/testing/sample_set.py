"""The shipped sample set: rendered photographs of restaurants, with dirt in known places."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageOps

from mirada.engine.base import Engine, Progress, Silent
from mirada.messages import msg
from mirada.testing.pages import menu_scene, stranger_scene
from mirada.testing.paint import Canvas, Rng, develop
from mirada.testing.rooms import inside_scene
from mirada.testing.streets import outside_scene
from mirada.testing.tables import drink_scene, food_scene

VERSION = 1  # of the recipe: a change of the pictures makes it another set
SCENES: Mapping[str, Callable[[Rng, int, int], Canvas]] = {
    "food": food_scene,
    "inside": inside_scene,
    "outside": outside_scene,
    "drink": drink_scene,
    "menu": menu_scene,
    "irrelevant": stranger_scene,
}
SHARES: Mapping[str, float] = {"food": 0.52, "inside": 0.26, "outside": 0.09, "drink": 0.08, "menu": 0.05}
# Share of the files that are of each kind of dirt, about that of real collections of photographs.
DIRT: Mapping[str, float] = {
    "exact_duplicate": 0.04,
    "near_duplicate": 0.04,
    "label": 0.03,
    "irrelevant": 0.025,
    "corrupt": 0.015,
    "awkward": 0.012,
}
NEAR = ("resized", "reencoded", "mirrored", "brightened")
CORRUPT = ("truncated", "text", "empty")
AWKWARD = ("cmyk", "grey", "palette", "alpha", "webp", "exif_rotated")
SUFFIX = {"palette": ".png", "alpha": ".png", "webp": ".webp"}
README = """The photographs in this folder are rendered by a program (mirada.testing). No camera took them.
photos/   a folder for each class
truth.csv what is wrong with which photograph: exact_duplicate and near_duplicate (detail: the photograph
          copied), label (detail: the right class), irrelevant, corrupt, awkward (unusual but readable)
"""


@dataclass(frozen=True, slots=True)
class PlannedPhoto:
    """One file of the set: which scene it shows, in which folder it lies, and what is wrong with it."""

    photo_id: str
    folder: str
    scene: str
    index: int
    kind: str = ""
    detail: str = ""
    variant: str = ""

    @property
    def name(self) -> str:
        """Class folder and file name."""
        return f"{self.folder}/{self.photo_id}{SUFFIX.get(self.variant, '.jpg')}"


@dataclass(frozen=True, slots=True)
class SampleTruth:
    """A rendered sample set: where it lies and all that is known of it."""

    photos_path: Path
    truth_path: Path
    photos: tuple[PlannedPhoto, ...]

    def of(self, kind: str) -> dict[str, str]:
        """photo_id → detail of every photograph of this kind of dirt."""
        return {p.photo_id: p.detail for p in self.photos if p.kind == kind}

    def counts(self) -> dict[str, int]:
        """Files by class folder."""
        return dict(Counter(p.folder for p in self.photos))


def plan_sample_set(n: int, seed: int) -> tuple[PlannedPhoto, ...]:
    """Decide what each of the `n` files will be; pictures are made later, each from (seed, index) alone."""
    rng = np.random.default_rng([seed, 0])
    least = max(2, round(0.05 * n))
    wanted = {name: max(least, round(share * n)) for name, share in SHARES.items()}
    wanted["food"] += n - sum(wanted.values())
    folders = [name for name, count in wanted.items() for _ in range(count)]
    ids = [f"IMG_{number:04d}" for number in rng.permutation(n) + 1]
    plain = [PlannedPhoto(ids[i], folders[i], folders[i], i) for i in range(n)]
    dirty = rng.permutation(n)
    counts = {kind: max(2, round(share * n)) for kind, share in DIRT.items()}
    originals: list[int] = [int(i) for i in dirty[sum(counts.values()) :]]
    at = 0
    for kind, count in counts.items():
        for turn in range(count):
            i = int(dirty[at])
            plain[i] = _spoil(plain[i], kind, turn, rng, [p for o in originals if (p := plain[o]).folder == folders[i]])
            at += 1
    return tuple(sorted(plain, key=lambda p: p.photo_id))


def _spoil(plan: PlannedPhoto, kind: str, turn: int, rng: Rng, originals: list[PlannedPhoto]) -> PlannedPhoto:
    """The planned photograph with one thing wrong."""
    photo_id, folder, scene, index = plan.photo_id, plan.folder, plan.scene, plan.index
    variant, detail = "", ""
    if kind in ("exact_duplicate", "near_duplicate"):
        original = originals[int(rng.integers(len(originals)))]
        index, detail = original.index, original.photo_id
        variant = NEAR[turn % len(NEAR)] if kind == "near_duplicate" else ""
    elif kind == "label":
        detail = scene
        folder = str(rng.choice([name for name in SHARES if name != scene]))
    elif kind == "irrelevant":
        scene = "irrelevant"
    elif kind == "corrupt":
        variant = CORRUPT[turn % len(CORRUPT)]
    else:
        variant = detail = AWKWARD[turn % len(AWKWARD)]
    return PlannedPhoto(photo_id, folder, scene, index, kind, detail, variant)


def picture(plan: PlannedPhoto, seed: int) -> tuple[Image.Image, int, int]:
    """The photograph before any dirt: RGB image, JPEG quality, EXIF orientation (1 for most)."""
    rng = np.random.default_rng([seed, 1, plan.index])
    long_side = int(rng.integers(400, 641))
    short_side = round(long_side / float(rng.choice([1.0, 4 / 3, 4 / 3, 3 / 2, 16 / 9])))
    h, w = (short_side, long_side) if rng.random() < 0.7 else (long_side, short_side)
    image = develop(SCENES[plan.scene](rng, h, w), rng)
    quality, orientation = int(rng.integers(58, 96)), int(rng.choice([1, 3, 6, 8], p=[0.92, 0.02, 0.03, 0.03]))
    return image, quality, 6 if plan.variant == "exif_rotated" else orientation


def encode(plan: PlannedPhoto, *, seed: int) -> bytes:
    """The file's bytes, a function of the plan and the seed alone."""
    if plan.variant == "text":
        return b"<!doctype html><title>404</title><p>This photograph is no longer here.</p>\n" * 40
    if plan.variant == "empty":
        return b""
    image, quality, orientation = picture(plan, seed)
    if plan.variant in NEAR:
        return _jpeg(_alter(image, plan.variant), 60 if plan.variant == "reencoded" else 88, 1)
    if plan.variant in ("palette", "alpha", "webp"):
        return _other_format(image, plan.variant)
    if plan.variant in ("cmyk", "grey"):
        return _jpeg(image.convert("CMYK" if plan.variant == "cmyk" else "L"), quality, 1)
    data = _jpeg(image, quality, orientation)
    return data[: len(data) * 2 // 5] if plan.variant == "truncated" else data


def _alter(image: Image.Image, variant: str) -> Image.Image:
    """The same photograph as somebody else would have saved it."""
    if variant == "resized":
        return image.resize((image.width * 7 // 10, image.height * 7 // 10), Image.Resampling.LANCZOS)
    if variant == "mirrored":
        return ImageOps.mirror(image)
    return ImageEnhance.Brightness(image).enhance(1.18) if variant == "brightened" else image


def _jpeg(image: Image.Image, quality: int, orientation: int) -> bytes:
    """JPEG bytes; for an orientation other than 1 the pixels are stored turned and the tag says how to turn back."""
    out = io.BytesIO()
    if orientation == 1:
        image.save(out, "JPEG", quality=quality)
        return out.getvalue()
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.transpose(turn[orientation]).save(out, "JPEG", quality=quality, exif=exif)
    return out.getvalue()


def _other_format(image: Image.Image, variant: str) -> bytes:
    out = io.BytesIO()
    if variant == "webp":
        image.save(out, "WEBP", quality=80)
    elif variant == "palette":
        image.quantize(128).save(out, "PNG")
    else:
        alpha = Image.new("L", image.size, 255)
        alpha.paste(0, (0, 0, image.width // 12, image.height))
        image.putalpha(alpha)
        image.save(out, "PNG")
    return out.getvalue()


def render_sample_set(
    folder: Path | str, *, n: int = 600, seed: int = 0, engine: Engine | None = None, progress: Progress | None = None
) -> SampleTruth:
    """Render the sample set into `folder`: `photos/<class>/…`, `truth.csv` beside them, and a README.

    The same `n`, `seed` and Pillow version give the same bytes. A folder that already holds this very set is
    left as it is. `n` is at least 100; with fewer there is no room for every kind of dirt.
    """
    if n < 100:
        raise ValueError(f"n is the number of photographs, at least 100, got {n}")
    root = Path(folder)
    plans = plan_sample_set(n, seed)
    truth = SampleTruth(root / "photos", root / "truth.csv", plans)
    stamp = json.dumps({"version": VERSION, "n": n, "seed": seed, "pillow": PIL.__version__})
    todo = _missing(root, stamp, plans)
    if not todo:
        return truth
    shown = progress or Silent()
    shown.start(msg("Rendering the sample photographs"), len(todo))
    for name in SHARES:
        (root / "photos" / name).mkdir(parents=True, exist_ok=True)
    make = partial(encode, seed=seed)
    encoded: Iterator[bytes] = engine.map(make, todo) if engine else map(make, todo)
    for plan, data in zip(todo, encoded, strict=True):
        (root / "photos" / plan.name).write_bytes(data)
        shown.advance()
    shown.finish()
    _write_truth(truth)
    (root / "README.txt").write_text(README, encoding="utf-8")
    # Written last: its presence says that the set is whole.
    (root / "sample_set.json").write_text(stamp, encoding="utf-8")
    return truth


def _missing(root: Path, stamp: str, plans: tuple[PlannedPhoto, ...]) -> list[PlannedPhoto]:
    """What is still to be rendered: everything, unless this very set was finished here before."""
    path = root / "sample_set.json"
    if not path.is_file() or path.read_text(encoding="utf-8") != stamp:
        return list(plans)
    return [plan for plan in plans if not (root / "photos" / plan.name).is_file()]


def _write_truth(truth: SampleTruth) -> None:
    with truth.truth_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["photo_id", "kind", "detail"])
        writer.writerows([p.photo_id, p.kind, p.detail] for p in truth.photos if p.kind)
