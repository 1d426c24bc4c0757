"""Any timm model to one ONNX file that needs no torch: photographs in, embedding (and logits) out.

The only file of `release` that imports torch; found by its dotted name from `workflow`. Normalisation stands inside
the graph, and the preprocessing that the weights were trained for travels in its metadata.
"""

from __future__ import annotations

import inspect
import logging
import math
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mirada.embed import vino
from mirada.embed.backbone import (
    Backbone,
    backbone_filename,
    backbone_metadata,
    load_backbone,
    unknown_backbone,
)
from mirada.embed.network import EMBEDDING, Network
from mirada.errors import BackboneError, MissingExtra
from mirada.messages import msg
from mirada.types import PreprocessSpec
from mirada.workspace import storage_errors, write_atomic

if TYPE_CHECKING:
    import torch

LOGITS = "logits"
PARITY_TOLERANCE = 1e-3
log = logging.getLogger("mirada.release")
Interpolation = Literal["bilinear", "bicubic", "lanczos", "box"]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A timm model with its weights; `licence` is what their origin states."""

    model: Any
    licence: str


def convert_timm(name: str, weights: Path | None, out_dir: Path, *, crop_pct: float | None = None) -> Backbone:
    """Write the timm model `name` as ONNX into `out_dir` and load it; the file's name follows from name and weights.

    weights: a .safetensors file (None: timm's own, from the Hugging Face hub). crop_pct: share of the resized
    photograph that the crop keeps (None: as the model was evaluated by timm).
    The file is written only where OpenVINO in float32 agrees with torch within 1e-3 of the embedding's scale.
    Raises MissingExtra without torch, BackboneError for an unknown name or weights that do not fit.
    """
    try:
        import timm
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            msg("Converting {name} needs torch and timm.", name=name), msg("pip install 'mirada[train]'")
        ) from error
    if not timm.is_model(name):
        raise unknown_backbone(name, known_names())
    path = out_dir / backbone_filename(name, weights)
    file, licence = _from_hub(name) if weights is None else (weights, "")
    loaded = _load(name, file, licence)
    spec = preprocess_of(loaded.model.pretrained_cfg, crop_pct)
    module = _as_module(loaded.model, spec)
    width, outputs = _checked_outputs(name, module, spec)
    classes = _class_names(loaded.model.num_classes) if LOGITS in outputs else ()
    metadata = backbone_metadata(name, loaded.licence, spec, width, class_names=classes)
    data = to_onnx(module, spec.input_size, outputs, metadata)
    check_parity(name, data, module, spec.input_size)
    with storage_errors(path):
        out_dir.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    return load_backbone(path)


def known_names() -> list[str]:
    """Names of all timm models, with their weights' tags; empty without the train extra."""
    try:
        import timm
    except ImportError:
        return []
    return [*timm.list_models(), *timm.list_pretrained()]


def _class_names(n_classes: int) -> tuple[str, ...]:
    """ImageNet's names in index order, where there are as many classes as ImageNet (or a part of it) has; else ().

    timm's table of WordNet lemmas. Two classes of one name (a crane lifts or flies) get their definition too.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": n_classes})
    if subset is None:
        return ()
    info = ImageNetInfo(subset)
    names = info.label_descriptions()
    seen = Counter(names)
    return tuple(info.index_to_description(i, detailed=seen[name] > 1) for i, name in enumerate(names))


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


def _load(name: str, weights: Path, licence: str) -> _Loaded:
    import timm
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        state = load_file(weights)
        with safe_open(weights, "pt") as handle:
            stated = (handle.metadata() or {}).get("license")
    except (SafetensorError, OSError) as error:
        raise BackboneError(
            msg("{path} is not a sound .safetensors file: {error}", path=weights, error=error),
            msg("Other formats can run code when they are read, so Mirada takes only this one."),
        ) from error
    heads = _classifier_names(timm.get_pretrained_cfg(name))
    rows = {int(state[f"{head}.weight"].shape[0]) for head in heads if f"{head}.weight" in state}
    model = timm.create_model(name, num_classes=rows.pop() if len(rows) == 1 else 0)
    problems = _mismatches(model.state_dict(), state)
    prefixes = tuple(f"{head}." for head in heads)
    if model.num_classes and all(key.startswith(prefixes) for keys in problems.values() for key in keys) and problems:
        # Only the classifier does not fit, and an embedding does without it.
        model = timm.create_model(name, num_classes=0)
    if not model.num_classes:
        state = {key: value for key, value in state.items() if not key.startswith(prefixes)}
        problems = _mismatches(model.state_dict(), state)
    if problems:
        raise _misfit(name, weights, problems, len(model.state_dict()))
    model.load_state_dict(state, strict=True)
    return _Loaded(model.eval(), licence or stated or f"not stated (weights from {weights.name})")


def _classifier_names(cfg: Any) -> tuple[str, ...]:
    named = getattr(cfg, "classifier", None) or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _mismatches(wanted: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
    both = wanted.keys() & given.keys()
    found = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(key for key in both if wanted[key].shape != given[key].shape),
    }
    return {kind: keys for kind, keys in found.items() if keys}


def _misfit(name: str, weights: Path, problems: Mapping[str, list[str]], total: int) -> BackboneError:
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


def _from_hub(name: str) -> tuple[Path, str]:
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


def _splits_head(model: Any) -> bool:
    """Whether the model can stop before its classifier."""
    return hasattr(model, "forward_head") and "pre_logits" in inspect.signature(model.forward_head).parameters


def _has_plain_classifier(model: Any, size: int) -> bool:
    """Whether one layer leads from the embedding to the logits (a distilled pair of heads does not)."""
    import torch

    if not model.num_classes or not _splits_head(model) or not isinstance(model.get_classifier(), torch.nn.Module):
        return False
    with torch.inference_mode():
        features = model.forward_features(torch.zeros(1, 3, size, size))
        logits = model.get_classifier()(model.forward_head(features, pre_logits=True))
        return logits.ndim == 2 and bool(torch.allclose(logits, model.forward_head(features), atol=1e-4))


def _as_module(model: Any, spec: PreprocessSpec) -> torch.nn.Module:
    """(n, S, S, 3) uint8 → embedding, or (embedding, logits)."""
    import torch

    from mirada.models.base import Photographs

    with_logits = _has_plain_classifier(model, spec.input_size)
    if not _splits_head(model):
        model.reset_classifier(0)

    class Converted(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.photographs = Photographs(spec)

        def forward(self, images: torch.Tensor) -> Any:
            x = self.photographs(images)  # n, 3, S, S
            if not _splits_head(self.model):
                return self.model(x)
            embedding = self.model.forward_head(self.model.forward_features(x), pre_logits=True)  # n, d
            return (embedding, self.model.get_classifier()(embedding)) if with_logits else embedding

    return Converted().eval()


def _checked_outputs(name: str, module: torch.nn.Module, spec: PreprocessSpec) -> tuple[int, list[str]]:
    import torch

    with torch.inference_mode():
        answer = module(torch.zeros(2, spec.input_size, spec.input_size, 3, dtype=torch.uint8))
    embedding = answer[0] if isinstance(answer, tuple) else answer
    if embedding.ndim != 2:
        raise BackboneError(
            msg(
                "{name} gives {shape} for two photographs, not one vector each.",
                name=name,
                shape=tuple(embedding.shape),
            ),
            msg("Choose a model of timm that classifies photographs."),
        )
    return int(embedding.shape[1]), [EMBEDDING, LOGITS] if isinstance(answer, tuple) else [EMBEDDING]


def to_onnx(module: torch.nn.Module, size: int, outputs: list[str], metadata: Mapping[str, str]) -> bytes:
    """The ONNX form of a module that takes uint8 photographs (n, size, size, 3); the same module, the same bytes."""
    import onnx
    import torch

    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.inference_mode():
        # The exporter warns about its own internals; parity is checked on what it wrote.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            (example,),
            path,
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},),
            external_data=False,
        )
        model = onnx.load(path)
    # The exporter notes where each node came from, with this machine's paths: the file would differ by machine.
    for node in model.graph.node:
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def check_parity(
    name: str, data: bytes, module: torch.nn.Module, size: int, *, photographs: NDArray[np.uint8] | None = None
) -> None:
    """OpenVINO in float32 against torch on noise, smooth pictures and `photographs` (n, size, size, 3).

    Raises BackboneError where they differ by more than 1e-3 of the output's scale.
    """
    import torch

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 8, 8, 3)).astype(np.float32)
    grid = np.linspace(0, 7, size).astype(int)
    photos = np.concatenate(
        [rng.integers(0, 256, (2, size, size, 3), dtype=np.uint8), coarse[:, grid][:, :, grid].astype(np.uint8)]
    )
    if photographs is not None:
        photos = np.concatenate([photos, photographs])
    with torch.inference_mode():
        answer = module(torch.from_numpy(photos))
    answers = dict(zip((EMBEDDING, LOGITS), answer if isinstance(answer, tuple) else (answer,), strict=False))
    for output, expected in answers.items():
        wanted = expected.numpy()
        got = Network(data, precision="f32", output=output).run_batch(photos)
        error = float(np.abs(got - wanted).max())
        if not error <= PARITY_TOLERANCE * max(1.0, float(np.abs(wanted).max())):
            raise BackboneError(
                msg(
                    "The ONNX form of {name} disagrees with torch by {error:.2g} ({output}); it was not written.",
                    name=name,
                    error=error,
                    output=output,
                ),
                msg("Please report this with the versions: OpenVINO {version}.", version=vino.runtime_version()),
            )
