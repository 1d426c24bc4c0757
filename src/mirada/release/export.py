"""Any timm model to one ONNX file that needs no torch: photographs in, embedding (and logits) out.

The only file of `release` that imports torch; found by its dotted name from `workflow`. Normalisation stands inside
the graph, and the preprocessing that the weights were trained for travels in its metadata.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

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
from mirada.models.weights import (
    classifier_names,
    from_hub,
    known_names,
    misfit,
    mismatches,
    preprocess_of,
    read_state,
    splits_head,
)
from mirada.types import PreprocessSpec
from mirada.workspace import storage_errors, write_atomic

if TYPE_CHECKING:
    import torch

LOGITS = "logits"
PARITY_TOLERANCE = 1e-3


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
    file, licence = from_hub(name) if weights is None else (weights, "")
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


def _load(name: str, weights: Path, licence: str) -> _Loaded:
    import timm

    state, stated = read_state(weights)
    heads = classifier_names(timm.get_pretrained_cfg(name))
    rows = {int(state[f"{head}.weight"].shape[0]) for head in heads if f"{head}.weight" in state}
    model = timm.create_model(name, num_classes=rows.pop() if len(rows) == 1 else 0)
    problems = mismatches(model.state_dict(), state)
    prefixes = tuple(f"{head}." for head in heads)
    if model.num_classes and all(key.startswith(prefixes) for keys in problems.values() for key in keys) and problems:
        # Only the classifier does not fit, and an embedding does without it.
        model = timm.create_model(name, num_classes=0)
    if not model.num_classes:
        state = {key: value for key, value in state.items() if not key.startswith(prefixes)}
        problems = mismatches(model.state_dict(), state)
    if problems:
        raise misfit(name, weights, problems, len(model.state_dict()))
    model.load_state_dict(state, strict=True)
    return _Loaded(model.eval(), licence or stated or f"not stated (weights from {weights.name})")


def _has_plain_classifier(model: Any, size: int) -> bool:
    """Whether one layer leads from the embedding to the logits (a distilled pair of heads does not)."""
    import torch

    if not model.num_classes or not splits_head(model) or not isinstance(model.get_classifier(), torch.nn.Module):
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
    if not splits_head(model):
        model.reset_classifier(0)

    class Converted(torch.nn.Module):  # type: ignore[misc]  # torch is not followed by mypy
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.photographs = Photographs(spec)

        def forward(self, images: torch.Tensor) -> Any:
            x = self.photographs(images)  # n, 3, S, S
            if not splits_head(self.model):
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
