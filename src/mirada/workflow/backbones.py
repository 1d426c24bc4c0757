"""Which backbone a person meant: the shipped one, a file, or a network converted once.

Converting needs torch, so the converter is resolved by its dotted name when it is needed and never imported here.
"""

from __future__ import annotations

from pathlib import Path

from mirada.embed.backbone import Backbone, BackboneStore, default_backbone, load_backbone
from mirada.engine.base import Progress, Silent
from mirada.messages import msg
from mirada.predict.manifest import MANIFEST_NAME, MODEL_NAME, Manifest
from mirada.types import Bundle
from mirada.workflow.extras import by_dotted_name
from mirada.workspace import Workspace

CONVERTER = "mirada.release.export:convert_timm"


def resolve_backbone(
    workspace: Workspace | None, name: str | None, weights: Path | None, *, progress: Progress | None = None
) -> Backbone:
    """The backbone called `name` (or a path to an .onnx file); None: the setting embed.backbone, else the shipped one.

    Raises BackboneError where there is none of that name, MissingExtra where converting it needs the train extra.
    """
    wanted = name or (workspace.config.text("embed.backbone") if workspace else "")
    if not wanted:
        return default_backbone()
    if wanted.endswith(".onnx") or Path(wanted).is_file():
        return load_backbone(Path(wanted))
    store = BackboneStore()
    cached = store.cached(wanted, weights)
    if cached is not None:
        return cached
    shown = progress or Silent()
    shown.note(msg("Converting {name} for this machine; this happens once.", name=wanted))
    return store.resolve(wanted, weights, convert=by_dotted_name(CONVERTER))


def bundle_backbone(bundle: Bundle) -> Backbone:
    """The backbone inside a bundle: its network, cut where the head begins. Cached embeddings stay good for it."""
    path = Path(bundle.path)
    facts = Manifest.model_validate_json((path / MANIFEST_NAME).read_text(encoding="utf-8")).backbone
    return Backbone(facts.name, path / MODEL_NAME, facts.sha256, facts.dim, bundle.preprocess, bundle.weights_licence)
