"""Which column of a table holds the photograph, which the label, which the split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mirada.errors import InputError
from mirada.messages import msg
from mirada.sources.uris import shown
from mirada.sources.walk import is_photo_name

# In order of preference. Compared without case, blanks, "_" and "-".
IMAGE_NAMES = (
    "image", "img", "photo", "picture", "filename", "file", "imagepath", "imagefile", "imagename", "filepath",
    "filepaths", "path", "photoid", "imageid", "images", "imagen", "foto", "archivo", "ruta", "id",
    "name", "uri",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "classname", "labelname", "class", "category", "target", "finelabel", "y", "breed", "species",
    "tag", "etiqueta", "clase", "categoria", "categoría",
)  # fmt: skip
SPLIT_NAMES = ("split", "subset", "partition", "dataset", "set")


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of the columns that matter; None where the table has no such column."""

    image: str
    label: str | None
    split: str | None


def find_columns(row: Mapping[str, object], path: str) -> Columns:
    """Find the columns by their names, then by what the first `row` holds.

    Raises InputError, with the columns found, where none can hold a photograph.
    """
    names = list(row)
    image = _by_content(row) or named(names, IMAGE_NAMES)
    if image is None:
        raise no_image_column(names, path)
    rest = [name for name in names if name != image]
    label = named(rest, LABEL_NAMES)
    split = named([name for name in rest if name != label], SPLIT_NAMES)
    if label is None and len(rest) == 1 and split is None:
        label = rest[0]
    return Columns(image, label, split)


def named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The first of `wanted` among `names`, whatever its case, blanks, "_" and "-"."""
    plain: dict[str, str] = {}
    for name in names:
        plain.setdefault("".join(c for c in name.lower() if c not in " _-"), name)
    return next((plain[name] for name in wanted if name in plain), None)


def no_image_column(names: Sequence[str], path: str) -> InputError:
    """The error for a table without photographs: it lists the columns found."""
    found = ", ".join(shown(str(name)) for name in names[:30]) or "–"
    return InputError(
        msg("No column of {path} holds photographs; its columns are: {found}.", path=shown(path), found=found),
        msg("Name the column with the files' paths (or bytes) “image”, and the one with the classes “label”."),
    )


def _by_content(row: Mapping[str, object]) -> str | None:
    """The best-named column whose cell looks like a photograph's path."""
    likely = [name for name, value in row.items() if isinstance(value, str) and is_photo_name(value.strip())]
    return named(likely, IMAGE_NAMES) or (likely[0] if likely else None)
