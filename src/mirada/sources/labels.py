"""Labels: their names, the names of splits, and files that say the label of each photograph."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping

from mirada.errors import InputError
from mirada.messages import msg
from mirada.sources.uris import shown, storable
from mirada.types import SplitName

_SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_FOLDER_SPLITS = frozenset(["train", "val", "valid", "validation", "test"])


def split_of_folder(name: str) -> SplitName | None:
    """The split that a folder's name says: train, val, valid, validation or test, in any case."""
    return _SPLITS[name.lower()] if name.lower() in _FOLDER_SPLITS else None


def split_of_value(value: object) -> SplitName | None:
    """The split that a cell of a table says; None for none we know."""
    return _SPLITS.get(str(value).strip().lower())


def clean_label(value: str) -> str:
    """A label as it is stored: one Unicode form (NFC), no blanks around it, always encodable."""
    return unicodedata.normalize("NFC", storable(value)).strip() or storable(value)


def refuse_lookalikes(names: Iterable[str], where: str) -> None:
    """Raise InputError where two labels differ only by case, Unicode form or blanks around them.

    People mean one class by such names, and half of the file systems hold them to be one folder.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = clean_label(name).casefold()
        other = seen.setdefault(key, name)
        if other != name:
            first, second = sorted((other, name))
            raise InputError(
                msg(
                    "Two classes in {where} have names that differ only in case, accents' encoding or blanks: "
                    "{first!r} and {second!r}.",
                    where=shown(where),
                    first=shown(first),
                    second=shown(second),
                ),
                msg("Give them one name if they are one class, and names that differ if they are two."),
            )


def label_of_cell(value: object, names: tuple[str, ...] | None = None) -> str | None:
    """The label in a table's cell: text as it is, a whole number by `names` where they are known. Empty: None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, (list, dict)):
        raise InputError(
            msg("A photograph has one label; a table gives several: {value}.", value=shown(str(value)[:80])),
            msg("Make a row of one label for each photograph."),
        )
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and names is not None:
        return names[value] if 0 <= value < len(names) else None
    text = clean_label(str(value))
    return text if text.strip() else None
