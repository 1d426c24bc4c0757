"""Backbones by file: one ONNX that says itself what it is, and the folder where converted ones are kept.

A backbone is an ONNX file: uint8 photographs "images" (n, S, S, 3) in, float32 "embedding" (n, d) out,
normalisation inside. Its metadata hold name, licence and preprocessing. A JSON of the same name beside it, where
there is one, says the same and the file's SHA-256, which is then checked.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mirada.errors import BackboneError, UsageError
from mirada.messages import msg
from mirada.types import PreprocessSpec
from mirada.workspace import storage_errors

SHIPPED_NAME = "mirada-small"
SHIPPED_PATH = Path(__file__).parent / f"{SHIPPED_NAME}.onnx"
EXPORT_VERSION = "2"  # part of a cached file's name: raise it when release/export.py writes another graph
_PREFIX = "mirada."
log = logging.getLogger("mirada.embed")

Converter = Callable[[str, Path | None, Path], "Backbone"]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network from photographs to vectors of length `dim`. `sha256` is that of the ONNX file.

    n_classes: classes of the second output "logits" where the weights came with a classifier, else 0.
    class_names: their names in index order, where they are known.
    """

    name: str
    onnx_path: Path
    sha256: str
    dim: int
    preprocess: PreprocessSpec
    licence: str
    n_classes: int = 0
    class_names: tuple[str, ...] = ()


def load_backbone(path: Path) -> Backbone:
    """Read and check a backbone's ONNX file. Raises BackboneError: missing, damaged, another hash, input or output."""
    from mirada.embed import network, vino

    model = vino.read_model(path)
    about = {**_sidecar(path), **_metadata(model)}
    sha256 = file_sha256(path)
    wanted = str(_sidecar(path).get("sha256", sha256))
    if sha256 != wanted:
        raise BackboneError(
            msg("{path} is damaged: its SHA-256 is {got}, not {wanted}.", path=path, got=sha256, wanted=wanted),
            msg("Delete it and run the same command again, or install Mirada anew."),
        )
    spec = parse_preprocess(about.get("preprocess"), path)
    size = network.check_images_input(model)
    if size != spec.input_size:
        raise BackboneError(
            msg(
                "{path} takes photographs of {got} px, but its preprocessing says {wanted} px.",
                path=path,
                got=size,
                wanted=spec.input_size,
            )
        )
    widths = {name: width for name in (network.EMBEDDING, "logits") if (width := _output_width(model, name))}
    if network.EMBEDDING not in widths:
        raise BackboneError(
            msg('{path} has no output "embedding" of float32 (n, d).', path=path),
            msg("`--backbone NAME --weights FILE` converts a timm model into that form."),
        )
    name, licence = str(about.get("name", path.stem)), str(about.get("licence", "not stated"))
    n_classes = widths.get("logits", 0)
    names = _class_names(about.get("class_names"), n_classes)
    return Backbone(name, path, sha256, widths[network.EMBEDDING], spec, licence, n_classes, names)


def default_backbone() -> Backbone:
    """The backbone inside the package, checked by hash. Raises BackboneError where this build has none."""
    if not SHIPPED_PATH.is_file():
        raise BackboneError(
            msg("This build of Mirada ships no backbone of its own."),
            msg("Pass one: --backbone FILE.onnx, or --backbone NAME --weights FILE.safetensors for a timm model."),
        )
    return load_backbone(SHIPPED_PATH)


class BackboneStore:
    """Converted backbones in a folder shared by all workspaces, one file per name and weights."""

    def __init__(self, cache_dir: Path | None = None) -> None:
        self.path = cache_dir or default_cache_dir() / "backbones"

    def cached(self, name: str, weights: Path | None = None) -> Backbone | None:
        """The conversion of `name` with these weights (None: the hub's), where it is here and sound."""
        path = self.path / backbone_filename(name, weights)
        if not path.is_file():
            return None
        try:
            return load_backbone(path)
        except BackboneError as error:
            log.warning("%s It is made again.", error)  # a cache may always be lost
            return None

    def names(self) -> list[str]:
        """Names of the shipped and the cached backbones."""
        cached = {path.name.rsplit("-", 1)[0] for path in self.path.glob("*-*.onnx")}
        return sorted(cached | ({SHIPPED_NAME} if SHIPPED_PATH.is_file() else set()))

    def resolve(
        self,
        name: str,
        weights: Path | None = None,
        *,
        convert: Converter | None = None,
        known: Callable[[], Sequence[str]] | None = None,
    ) -> Backbone:
        """The backbone that `--backbone name --weights weights` means; "" is the shipped one.

        A path of an ONNX file, a cached conversion, else `convert(name, weights, folder)`, once even where two
        processes ask at the same time. `known` lists further names that may have been meant.
        Raises BackboneError, or what `convert` raises.
        """
        if not name or name == SHIPPED_NAME or name.endswith(".onnx"):
            if weights is not None:
                raise UsageError(
                    msg("--weights goes with the name of a timm model; {name} has its own.", name=name or SHIPPED_NAME),
                    msg("Leave out --weights, or name the model with --backbone."),
                )
            return load_backbone(Path(name)) if name.endswith(".onnx") else default_backbone()
        self._refuse_unknown(name, known)
        if (found := self.cached(name, weights)) is not None:
            return found
        if convert is None:
            raise BackboneError(
                msg("The backbone {name} has not been converted yet.", name=name),
                msg("Install the converter: pip install 'mirada[train]'"),
            )
        with self._lock(name):
            return self.cached(name, weights) or convert(name, weights, self.path)

    def _refuse_unknown(self, name: str, known: Callable[[], Sequence[str]] | None) -> None:
        names = self.names()
        if name in names:
            return
        names += known() if known is not None else []
        # Without the list of timm's models, only a difference in case is surely a slip.
        slip = [other for other in names if other.lower() == name.lower()]
        if name not in names and (known is not None or slip):
            raise unknown_backbone(name, names)

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            handle = (self.path / f".{_safe(name)}.lock").open("a")
        with handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def unknown_backbone(name: str, names: Sequence[str]) -> BackboneError:
    """The error for a name that nobody knows, with the nearest ones."""
    by_lower = {other.lower(): other for other in names}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3)]
    if near:
        hint = msg("Did you mean {names}?", names=", ".join(near))
    else:
        hint = msg('`python -c "import timm; print(*timm.list_models())"` lists timm\'s models.')
    return BackboneError(msg("There is no backbone called {name}.", name=name), hint)


def backbone_filename(name: str, weights: Path | None) -> str:
    """The file that the conversion of `name` with these weights goes to. Raises BackboneError: no such weights."""
    if weights is not None and not weights.is_file():
        raise BackboneError(
            msg("There is no weights file {path}.", path=weights), msg("--weights takes a .safetensors file.")
        )
    origin = file_sha256(weights) if weights is not None else "hub"
    key = hashlib.sha256("\0".join((EXPORT_VERSION, name, origin)).encode()).hexdigest()
    return f"{_safe(name)}-{key[:16]}.onnx"


def backbone_metadata(
    name: str, licence: str, spec: PreprocessSpec, dim: int, *, class_names: Sequence[str] = (), trained_on: str = ""
) -> dict[str, str]:
    """What goes into the ONNX file's `metadata_props`."""
    values = {"format": "1", "name": name, "licence": licence, "dim": str(dim), "preprocess": json.dumps(asdict(spec))}
    if class_names:
        values["class_names"] = json.dumps(list(class_names))
    if trained_on:
        values["trained_on"] = trained_on
    return {_PREFIX + key: value for key, value in values.items()}


def parse_preprocess(raw: object, path: Path) -> PreprocessSpec:
    """A PreprocessSpec from its JSON text or mapping. Raises BackboneError where it is missing or not one."""
    names = {field.name for field in fields(PreprocessSpec)}
    try:
        values = json.loads(raw) if isinstance(raw, str) else raw
        if not isinstance(values, Mapping) or not set(values) <= names or "input_size" not in values:
            raise ValueError(raw)
        listed = {key: tuple(map(float, values[key])) for key in ("mean", "std") if key in values}
        return PreprocessSpec(**{**values, **listed})
    except (ValueError, TypeError) as error:
        raise BackboneError(
            msg("{path} does not say how photographs are prepared for it.", path=path),
            msg('Its metadata need "mirada.preprocess", or the JSON beside it "preprocess".'),
        ) from error


def default_cache_dir() -> Path:
    """Where converted backbones are kept: $MIRADA_CACHE, else $XDG_CACHE_HOME/mirada, else ~/.cache/mirada."""
    if named := os.environ.get("MIRADA_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mirada"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _metadata(model: Any) -> dict[str, object]:
    paths = {key: ["framework", _PREFIX + key] for key in ("name", "licence", "preprocess", "class_names")}
    return {key: str(model.get_rt_info(path).value) for key, path in paths.items() if model.has_rt_info(path)}


def _class_names(raw: object, n_classes: int) -> tuple[str, ...]:
    try:
        names = json.loads(raw) if isinstance(raw, str) else raw
    except ValueError:
        return ()
    return tuple(map(str, names)) if isinstance(names, list) and len(names) == n_classes else ()


def _sidecar(path: Path) -> dict[str, object]:
    beside = path.with_suffix(".json")
    try:
        values = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    except ValueError as error:
        raise BackboneError(msg("{path} is damaged: it is not JSON.", path=beside)) from error
    return values if isinstance(values, dict) else {}


def _output_width(model: Any, name: str) -> int:
    for port in model.outputs:
        shape = port.partial_shape
        if name in port.get_names() and len(shape) == 2 and shape[1].is_static:
            return int(shape[1].get_length())
    return 0
