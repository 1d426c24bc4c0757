"""``manifest.json``: what a bundle folder says of itself, and the door every bundle comes in by.

A bundle is trusted only when its format is known, its files are those that were written (SHA-256) and its
fields make sense; anything else raises BundleError with what is wrong and where.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mirada.errors import BundleError, NotFound
from mirada.messages import Message, msg
from mirada.types import Bundle, Metric, Precision, PreprocessSpec

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
CARD_NAME = "README.md"
REFERENCE_NAME = "reference.npz"
PROBABILITIES = "probabilities"  # output of the network, beside "embedding"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class BackboneFacts(BaseModel):
    """Which backbone the bundle's network was made from."""

    model_config = ConfigDict(frozen=True)

    name: str
    sha256: str
    dim: Annotated[int, Field(gt=0)]


class Parity(BaseModel):
    """How far the bundle's probabilities are from training's own, on `n` photographs of val."""

    model_config = ConfigDict(frozen=True)

    max_abs_diff: Annotated[float, Field(ge=0)]
    same_top_label: Share
    n: Annotated[int, Field(gt=0)]


class Quantization(BaseModel):
    """How a network in int8 came about and what it cost; accuracies are on the same `n` photographs of val.

    same_top_label: the share of them that both networks name alike. `parity` is then against the network it was made
    from, and not held to 0.001.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["int8"] = "int8"
    accuracy_before: Share
    accuracy_after: Share
    tolerance: Share
    n: Annotated[int, Field(gt=0)]
    same_top_label: Share
    n_calibration: Annotated[int, Field(gt=0)]
    made_from_sha256: Sha256


class Manifest(BaseModel):
    """The fields of ``manifest.json``, format 1."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1)]
    version: Annotated[int, Field(ge=1)]
    onnx_sha256: Sha256
    reference_sha256: Sha256 | None = None
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    preprocess: PreprocessSpec
    backbone: BackboneFacts
    temperature: Annotated[float, Field(gt=0)]
    reject_threshold: Share
    precision: Precision
    parity: Parity
    quantization: Quantization | None = None
    metrics: dict[str, Metric]
    run_id: str
    dataset_id: str
    weights_licence: str
    reference_stats: dict[str, float]
    mirada_version: str
    created_at: str

    @model_validator(mode="after")
    def _names_differ(self) -> Manifest:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names holds a name twice")
        return self

    def to_bundle(self, path: Path) -> Bundle:
        """The record that travels between the rooms."""
        return Bundle(
            name=self.name,
            version=self.version,
            path=str(path),
            onnx_sha256=self.onnx_sha256,
            class_names=self.class_names,
            preprocess=self.preprocess,
            backbone=self.backbone.name,
            temperature=self.temperature,
            reject_threshold=self.reject_threshold,
            precision=self.precision,
            parity={key: float(value) for key, value in self.parity.model_dump().items()},
            metrics=self.metrics,
            run_id=self.run_id,
            dataset_id=self.dataset_id,
            weights_licence=self.weights_licence,
            reference_stats=self.reference_stats,
        )


def load_manifest(path: Path) -> Bundle:
    """Check the bundle folder at `path` and return what it says.

    Raises NotFound where there is no bundle; BundleError where it is of a later format, damaged, incomplete, or
    a file differs from its SHA-256.
    """
    return open_bundle(path)[0]


def open_bundle(path: Path) -> tuple[Bundle, bytes]:
    """Like `load_manifest`, with the ONNX bytes that were verified: what runs is what was checked."""
    # `models/champion` is a link: follow it once, so that a promotion meanwhile cannot mix two bundles.
    root = path.resolve()
    manifest = read_manifest(root)
    onnx = verified_bytes(root / MODEL_NAME, manifest.onnx_sha256)
    if manifest.reference_sha256 is not None:
        verified_bytes(root / REFERENCE_NAME, manifest.reference_sha256)
    return manifest.to_bundle(root), onnx


def read_manifest(root: Path) -> Manifest:
    """Parse ``manifest.json`` alone, without reading the files it names."""
    file = root / MANIFEST_NAME
    try:
        raw = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            msg("There is no model bundle in {path}: it has no manifest.json.", path=root),
            msg("Give the folder that `mirada train` wrote; `mirada models` lists them."),
        ) from error
    except OSError as error:
        raise _broken(file, msg("it cannot be read ({error})", error=error.strerror)) from error
    try:
        document = json.loads(raw)
        _check_format(file, document)
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _broken(file, msg("{where}: {what}", where=where or "manifest", what=first["msg"])) from error
    except ValueError as error:
        raise _broken(file, msg("it is not JSON ({error})", error=error)) from error


def verified_bytes(file: Path, sha256: str) -> bytes:
    """Read `file` whole. Raises BundleError where it is missing or is not the file that was written."""
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise _broken(file, msg("the file is missing")) from error
    except OSError as error:
        raise _broken(file, msg("it cannot be read ({error})", error=error.strerror)) from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise _broken(
            file, msg("its SHA-256 is {found}, the manifest says {wanted}", found=found[:12], wanted=sha256[:12])
        )
    return data


def _check_format(file: Path, document: object) -> None:
    version = document.get("format_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(
            msg(
                "{path} has bundle format {version}; this Mirada knows formats up to {known}.",
                path=file,
                version=version,
                known=FORMAT_VERSION,
            ),
            msg("Install a later Mirada, or train the model again with this one."),
        )


def _broken(file: Path, why: Message) -> BundleError:
    return BundleError(
        msg("The model bundle is damaged: {path}: {why}.", path=file, why=why),
        msg("Copy the bundle folder again, or train the model again; nothing was loaded."),
    )
