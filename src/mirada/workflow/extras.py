"""Parts that need an extra are resolved by dotted name when they are called; nothing light imports them."""

from __future__ import annotations

import importlib
from typing import Any

from mirada.errors import MissingExtra
from mirada.messages import msg

EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "safetensors": "train",
    "optuna": "train",
    "nncf": "quantize",
}


def by_dotted_name(name: str) -> Any:
    """What ``package.module:name`` names. Raises MissingExtra where a library it needs is not installed."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        extra = EXTRA_OF.get(str(error.name).partition(".")[0])
        if extra is None:
            raise
        raise MissingExtra(
            msg("This needs {library}, which is not installed.", library=error.name),
            msg("Install it: pip install 'mirada[{extra}]'", extra=extra),
        ) from error
