"""``mirada doctor``: what this machine offers and which extras are installed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

import click
import psutil

from mirada import __version__
from mirada.cli.output import Result, Settings, speaks, table
from mirada.config import SETTINGS
from mirada.errors import MiradaError
from mirada.messages import Message, locale_language, msg

EXTRAS = {"train": ("torch", "torchvision", "timm"), "quantize": ("nncf",)}


@click.command(
    help=str(msg("Say what this machine offers and which extras are installed.")),
    epilog=str(msg("Example: mirada doctor --settings")),
)
@click.option("--settings", "with_settings", is_flag=True, help=str(msg("List every setting with its value.")))
@click.pass_obj
@speaks
def doctor(settings: Settings, *, with_settings: bool) -> Result:
    """Look around and say what was seen."""
    facts = {**_machine(), **_runtime(), **_extras(), **_workspace(settings)}
    rows = [(str(name), value) for name, value in facts.items()]
    lines: list[str | Message] = [f"{name:<16}{value}" for name, value in rows]
    document: dict[str, object] = dict(rows)
    if with_settings:
        config = settings.open().config if _has_workspace(settings) else None
        values = [(s.name, str(config.text(s.name) if config else s.default), str(s.help)) for s in SETTINGS]
        lines += ["", *table([msg("setting"), msg("value"), msg("what it is")], values)]
        document["settings"] = {name: value for name, value, _ in values}
    return Result(document, lines)


def _machine() -> dict[str, str]:
    memory = psutil.virtual_memory()
    return {
        "mirada": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory_gb": f"{memory.available / 1e9:.1f} / {memory.total / 1e9:.1f}",
        "disk_free_gb": f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f}",
        "language": locale_language(),
    }


def _runtime() -> dict[str, str]:
    from mirada.embed.backbone import default_backbone
    from mirada.embed.vino import resolve_precision

    try:
        backbone = default_backbone().name
    except MiradaError as error:
        backbone = str(error)
    return {
        "openvino": importlib.metadata.version("openvino"),
        "precision": resolve_precision("auto"),
        "backbone": backbone,
    }


def _extras() -> dict[str, str]:
    return {f"extra {name}": _installed(packages, name) for name, packages in EXTRAS.items()}


def _installed(packages: tuple[str, ...], extra: str) -> str:
    try:
        return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    except importlib.metadata.PackageNotFoundError:
        return str(msg("not installed: pip install 'mirada[{extra}]'", extra=extra))


def _has_workspace(settings: Settings) -> bool:
    try:
        settings.open()
    except MiradaError:
        return False
    return True


def _workspace(settings: Settings) -> dict[str, str]:
    try:
        return {"workspace": str(settings.open().path)}
    except MiradaError as error:
        return {"workspace": str(error.message)}
