"""A folder tree: class folders, below train, val and test where there is a split. As torchvision's ImageFolder,
Keras and `datasets.load_dataset("imagefolder")` read it.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from mirada.errors import InputError
from mirada.messages import Message, msg, msg_n
from mirada.sources.uris import HUB_SCHEME, shown, split_row, uri_path
from mirada.subsets.export import Loaded, Plan
from mirada.subsets.names import file_names, safe_names
from mirada.types import Sample


class FolderWriter:
    """Writes (or links) each photograph to the place that was planned for it."""

    def __init__(self, plan: Plan) -> None:
        self._build, self._link = plan.build, plan.request.link
        folders = safe_names(plan.class_names)
        self._places = _places(plan, folders)
        self._n_copied = 0
        self.notes: list[Message] = []
        for name, folder in sorted(folders.items()):
            if name != folder:
                self.notes.append(msg("The class {name} is in the folder {folder}.", name=shown(name), folder=folder))
        if plan.request.grey:
            self.notes.append(msg("The photographs were written without colour: JPEG as JPEG, all others as PNG."))

    def add(self, loaded: Loaded) -> None:
        """One photograph more."""
        place = self._build / self._places[loaded.sample.sample_id]
        place.parent.mkdir(parents=True, exist_ok=True)
        if self._link is None:
            place.write_bytes(loaded.data)
        elif (original := _file_of(loaded.sample)) is None:
            self._n_copied += 1
            place.write_bytes(loaded.data)
        elif self._link == "symbolic":
            place.symlink_to(original)
        else:
            _hard_link(original, place)

    def finish(self) -> None:
        """Tell what could not be linked."""
        if self._n_copied:
            self.notes.append(
                msg_n(
                    "{n} photograph lies in a table, not in a file of its own: it was copied.",
                    "{n} photographs lie in tables, not in files of their own: they were copied.",
                    n=self._n_copied,
                )
            )

    def close(self) -> None:
        """Nothing is open."""


def _places(plan: Plan, folders: dict[str, str]) -> dict[str, str]:
    """The path of each sample within the tree."""
    of_folder: dict[str, list[Sample]] = defaultdict(list)
    for sample in plan.samples:
        parts = [str(sample.split)] if plan.has_split else []
        of_folder["/".join([*parts, folders[str(sample.label)]])].append(sample)
    return {
        sample.sample_id: f"{folder}/{name}"
        for folder, samples in of_folder.items()
        for sample, name in zip(samples, file_names(samples, grey=plan.request.grey), strict=True)
    }


def _file_of(sample: Sample) -> Path | None:
    """The photograph's own file; None for a row of a container."""
    if split_row(sample.uri) is not None or sample.uri.startswith(HUB_SCHEME):
        return None
    return Path(uri_path(sample.uri))


def _hard_link(original: Path, place: Path) -> None:
    try:
        os.link(original.resolve(), place)
    except OSError as error:
        raise InputError(
            msg("{path} cannot be given a second name there: {reason}.", path=original, reason=error.strerror),
            msg("Hard links stay on one disk: use --link symbolic, or copy by leaving out --link."),
        ) from error
