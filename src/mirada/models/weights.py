"""Weights from files and from the hub: safetensors only, and refused where they do not fit, saying why.

Light: torch, timm and the hub's client are loaded by the functions that need them.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mirada.errors import BackboneError
from mirada.messages import msg
from mirada.types import PreprocessSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

log = logging.getLogger("mirada.models")
Interpolation = Literal["bilinear", "bicubic", "lanczos", "box"]


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], str | None]:
    """The tensors of a .safetensors file and the licence that it states. Raises BackboneError: not a sound one."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    if not path.is_file():
        raise BackboneError(
            msg("There is no weights file {path}.", path=path), msg("--weights takes a .safetensors file.")
        )
    try:
        with safe_open(path, "pt") as handle:
            stated = (handle.metadata() or {}).get("license")
        return load_file(path), stated
    except (SafetensorError, OSError) as error:
        raise BackboneError(
            msg("{path} is not a sound .safetensors file: {error}", path=path, error=error),
            msg("Other formats can run code when they are read, so Mirada takes only this one."),
        ) from error


def load_weights(module: nn.Module, path: Path, *, name: str, classifier: Sequence[str]) -> dict[str, torch.Tensor]:
    """Put a file's tensors into `module`: all of them and no other, but for those of its `classifier`.

    The classifier's tensors go in where they fit; otherwise the module keeps its own. Returns those of the file
    that `module` has no place for. Raises BackboneError, naming the keys, where anything else does not fit.
    """
    state, _ = read_state(path)
    wanted = module.state_dict()
    prefixes = tuple(f"{part}." for part in classifier)
    apart = {key: state.pop(key) for key in list(state) if prefixes and key.startswith(prefixes)}
    own = {key: value for key, value in wanted.items() if prefixes and key.startswith(prefixes)}
    body = {key: value for key, value in wanted.items() if key not in own}
    if problems := mismatches(body, state):
        raise misfit(name, path, problems, len(wanted))
    if own and not mismatches(own, apart):
        state |= apart
        apart = {}
    elif own:
        log.info("%s gets a new classifier: that of %s is for other classes", name, path)
    module.load_state_dict(state, strict=False)  # held against each other above, all but the classifier
    return apart


def known_names() -> list[str]:
    """Names of all timm models, with their weights' tags; empty without the train extra."""
    try:
        import timm
    except ImportError:
        return []
    return [*timm.list_models(), *timm.list_pretrained()]


def preprocess_of(cfg: Mapping[str, Any], crop_pct: float | None = None) -> PreprocessSpec:
    """The evaluation transform of timm: short side to floor(size / crop_pct), centre crop.

    Raises BackboneError for inputs that are not square RGB.
    """
    channels, height, width = cfg["input_size"]
    if channels != 3 or height != width:
        raise BackboneError(
            msg("The model takes {shape}; only square RGB photographs are supported.", shape=cfg["input_size"])
        )
    named = cfg.get("interpolation")
    interpolation: Interpolation = "bicubic"
    for allowed in get_args(Interpolation):
        interpolation = allowed if allowed == named else interpolation
    return PreprocessSpec(
        input_size=height,
        resize=math.floor(height / (crop_pct or cfg.get("crop_pct") or 0.875)),
        interpolation=interpolation,
        mean=tuple(cfg["mean"]),
        std=tuple(cfg["std"]),
    )


def classifier_names(cfg: Any) -> tuple[str, ...]:
    """Names of a timm model's classifier, or of its two (a distilled model), as its configuration has them."""
    named = getattr(cfg, "classifier", None) or ()
    return (named,) if isinstance(named, str) else tuple(named)


def mismatches(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
    """What keeps the tensors `given` from being the tensors `wanted`: keys by kind of trouble; {}: nothing."""
    both = wanted.keys() & given.keys()
    found = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(key for key in both if wanted[key].shape != given[key].shape),
    }
    return {kind: keys for kind, keys in found.items() if keys}


def misfit(name: str, weights: Path, problems: Mapping[str, list[str]], total: int) -> BackboneError:
    """The error for weights that are not those of `name`, of `total` tensors: which keys, and how many."""
    parts = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})" for kind, keys in problems.items()
    ]
    return BackboneError(
        msg(
            "{path} does not fit {name}, which has {total} tensors: {parts}.",
            path=weights,
            name=name,
            total=total,
            parts="; ".join(parts),
        ),
        msg("Name the model that these weights were made for with --backbone."),
    )


def from_hub(name: str) -> tuple[Path, str]:
    """Weights that timm names and their licence: from the hub's cache, else over the network. Never a pickle."""
    import timm
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import get_session

    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.hf_hub_id:
        raise BackboneError(
            msg("The hub holds no pretrained weights for {name}.", name=name),
            msg("Pass your own with --weights FILE.safetensors, or name another model."),
        )
    file = cfg.hf_hub_filename or "model.safetensors"
    licence = cfg.license or "not stated"
    try:
        return Path(hf_hub_download(cfg.hf_hub_id, file, local_files_only=True)), licence
    except LocalEntryNotFoundError:
        log.info("%s is not in the hub's cache", cfg.hf_hub_id)
    try:
        # One short question first: the client itself takes 20 s of retries to find that there is no network.
        get_session().head(constants.ENDPOINT, timeout=5)
        return Path(hf_hub_download(cfg.hf_hub_id, file)), licence
    except (HTTPError, OSError) as error:
        raise BackboneError(
            msg("The weights of {name} could not be fetched from {hub}.", name=name, hub=cfg.hf_hub_id),
            msg("Where there is no network, pass --weights FILE.safetensors, or leave out --backbone."),
        ) from error


def splits_head(model: Any) -> bool:
    """Whether the model can stop before its classifier."""
    return hasattr(model, "forward_head") and "pre_logits" in inspect.signature(model.forward_head).parameters
