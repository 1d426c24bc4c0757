"""Which backbone a person meant: the shipped one, a file, or a network converted once.

Converting needs torch, so the converter is resolved by its dotted name when it is needed and never imported here.
"""

from __future__ import annotations

from pathlib import Path

from mirada.config import Config
from mirada.embed.backbone import Backbone, BackboneStore
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
    config = workspace.config if workspace else Config.load()
    wanted = name or config.text("embed.backbone")
    shown = progress or Silent()

    def convert(model: str, file: Path | None, folder: Path) -> Backbone:
        shown.note(msg("Converting {name} for this machine; this happens once.", name=model))
        made: Backbone = by_dotted_name(CONVERTER)(model, file, folder)
        return made

    return BackboneStore().resolve(wanted, weights, convert=convert)


def bundle_backbone(bundle: Bundle) -> Backbone:
    """The backbone inside a bundle: its network, cut where the head begins. Cached embeddings stay good for it."""
    path = Path(bundle.path)
    facts = Manifest.model_validate_json((path / MANIFEST_NAME).read_text(encoding="utf-8")).backbone
    return Backbone(facts.name, path / MODEL_NAME, facts.sha256, facts.dim, bundle.preprocess, bundle.weights_licence)
