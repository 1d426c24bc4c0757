"""Mirada: from a pile of photographs to a classifier that can be trusted, served and kept honest.

    import mirada
    model = mirada.train("photos/")
    model.predict("new.jpg").label

Importing it is light: the parts are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Classifier", "ImageClassifier", "Workspace", "__version__", "load", "train"]

if TYPE_CHECKING:
    from mirada.api.estimator import ImageClassifier
    from mirada.api.library import Classifier, Workspace, load, train

_HOMES = {
    "Classifier": "mirada.api.library",
    "ImageClassifier": "mirada.api.estimator",
    "Workspace": "mirada.api.library",
    "load": "mirada.api.library",
    "train": "mirada.api.library",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mirada' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
