"""The model card of a bundle: README.md in the form that the Hugging Face hub reads.

YAML front matter (https://huggingface.co/docs/hub/model-cards), then what the model is, on what data, how good
with intervals, and where it ends. English: a card travels with the model, not with its reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mirada.predict.manifest import Manifest, Quantization
from mirada.types import Metric

# SPDX identifiers that the hub knows by the same name, in lower case.
_HUB_LICENCES = frozenset(
    ["apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"]
)
# In the hub's vocabulary: our metric, its name there.
_HUB_METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "macro_precision": "precision", "macro_recall": "recall"}


def model_card(manifest: Manifest, *, n: Mapping[str, int]) -> str:
    """The text of README.md; `n` is the number of photographs by split."""
    parts = [
        _front_matter(manifest),
        f"# {_plain(manifest.name)} version {manifest.version}\n",
        f"An image classifier for {len(manifest.class_names)} classes, made with Mirada {manifest.mirada_version}: "
        f"the backbone {_plain(manifest.backbone.name)} and a head trained on its embeddings.\n",
        _classes(manifest),
        _data(manifest, n),
        _figures(manifest),
        *([_int8(manifest.quantization)] if manifest.quantization else []),
        _limits(manifest),
        _usage(manifest),
    ]
    return "\n".join(parts)


def _front_matter(manifest: Manifest) -> str:
    licence = manifest.weights_licence.lower()
    known = licence in _HUB_LICENCES
    lines = [f"license: {licence if known else 'other'}"]
    if not known:
        lines.append(f"license_name: {_yaml(manifest.weights_licence or 'unknown')}")
    lines += ["pipeline_tag: image-classification", "library_name: mirada"]
    lines += ["tags:", "- image-classification", "- mirada", "- onnx"]
    metrics = [hub for name, hub in _HUB_METRICS.items() if name in manifest.metrics]
    lines += ["metrics:", *(f"- {name}" for name in metrics)] if metrics else []
    return "\n".join(["---", *lines, "---", ""])


def _classes(manifest: Manifest) -> str:
    names = "\n".join(f"- {_plain(name)}" for name in manifest.class_names)
    return f"## Classes\n\n{names}\n"


def _data(manifest: Manifest, n: Mapping[str, int]) -> str:
    counts = ", ".join(f"{number} {name}" for name, number in n.items())
    photographs = f"Photographs: {counts}. " if counts else ""
    return (
        f"## Data\n\n{photographs}Data set version `{manifest.dataset_id}`, run `{manifest.run_id}`. "
        f"The licence of the backbone's weights: {_plain(manifest.weights_licence or 'unknown')}.\n"
    )


def _figures(manifest: Manifest) -> str:
    if not manifest.metrics:
        return "## Figures\n\nNone were measured.\n"
    rows = "\n".join(f"| {_plain(name)} | {_metric(metric)} |" for name, metric in manifest.metrics.items())
    parity = manifest.parity
    origin = "training's own" if manifest.quantization is None else "those before quantisation"
    return (
        "## Figures\n\nOn the test split, with 95 % intervals.\n\n| metric | value | low | high | n |\n"
        f"|---|---:|---:|---:|---:|\n{rows}\n\n"
        f"Measured in {manifest.precision}. On {parity.n} photographs of val, the probabilities of this bundle "
        f"differ from {origin} by at most {parity.max_abs_diff:.2g}; the top label is the same for "
        f"{100 * parity.same_top_label:.1f} %.\n"
    )


def _int8(made: Quantization) -> str:
    return (
        f"## Int8\n\nQuantised after training on {made.n_calibration} photographs of train; head and softmax are in "
        f"float32. On {made.n} photographs of val its accuracy is {100 * made.accuracy_after:.2f} %, and "
        f"{100 * made.accuracy_before:.2f} % before; {100 * made.same_top_label:.1f} % get the same top label.\n"
    )


def _metric(metric: Metric) -> str:
    return f"{metric.value:.4f} | {metric.low:.4f} | {metric.high:.4f} | {metric.n}"


def _limits(manifest: Manifest) -> str:
    return (
        "## Limits\n\nIt answers with one of the classes above, whatever the photograph shows. Scores are calibrated "
        f"(temperature {manifest.temperature:.3g}); an answer below {manifest.reject_threshold:.3g} is marked "
        "`rejected`: ask a person. The figures hold for photographs like those it was tested on.\n"
    )


def _usage(manifest: Manifest) -> str:
    spec = manifest.preprocess
    return (
        '## How to use\n\n```python\nimport mirada\n\nmodel = mirada.load("path/to/this/folder")\n'
        'print(model.predict("photo.jpg").label)\n```\n\n'
        f"Without Mirada: `model.onnx` takes `images`, uint8 (n, {spec.input_size}, {spec.input_size}, 3), "
        f"RGB, upright; the short side resized to {spec.resize} ({spec.interpolation}), the centre cut. "
        "It gives `probabilities` (n, classes) in the order above, and `embedding`. "
        "Normalisation and temperature are inside.\n"
    )


def _plain(text: str) -> str:
    """A name as Markdown shows it, letter for letter, on one line."""
    one_line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#+!|" else c for c in one_line)


def _yaml(text: str) -> str:
    # A JSON string is a YAML string.
    return json.dumps(text)
