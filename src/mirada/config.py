"""Every setting once: name, default, help. Read from mirada.toml, then the environment, then flags.

`MIRADA_SERVE_PORT=9000` in the environment is ``[serve] port = 9000`` in mirada.toml. Unknown names are
refused, with the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mirada.errors import UsageError
from mirada.messages import Message, msg

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Setting:
    """One option: its dotted name, default (which fixes its type) and help."""

    name: str
    default: Value
    help: Message

    @property
    def env(self) -> str:
        """The environment variable that overrides it."""
        return "MIRADA_" + self.name.replace(".", "_").upper()


SETTINGS: tuple[Setting, ...] = (
    Setting("catalog.url", "", msg("Database address; empty: catalog.sqlite in the workspace.")),
    Setting("decode.max_pixels", 120_000_000, msg("Photographs of more pixels are rejected unread.")),
    Setting("decode.max_bytes", 200_000_000, msg("Files of more bytes are rejected unread.")),
    Setting("decode.max_side", 65_500, msg("Photographs with a longer side, in pixels, are rejected unread.")),
    Setting("engine.workers", 0, msg("How many photographs to decode at once; 0: one a processor core.")),
    Setting("embed.backbone", "", msg("The backbone where no --backbone is given; empty: the shipped one.")),
    Setting("embed.precision", "auto", msg("auto, bf16 or f32; auto takes bf16 where the processor has it.")),
    Setting("split.ratios", "70/15/15", msg("Shares of train, val and test, in per cent.")),
    Setting("train.seed", 0, msg("Seed of splits, heads and intervals.")),
    Setting("train.reject_precision", 0.95, msg("Least share of right answers among those not refused.")),
    Setting("track.uri", "", msg("MLflow address; empty: MLFLOW_TRACKING_URI, else mlflow.db in the workspace.")),
    Setting("track.enabled", True, msg("Mirror runs and models to MLflow.")),
    Setting("serve.host", "127.0.0.1", msg("Address to listen on.")),
    Setting("serve.port", 8000, msg("Port to listen on.")),
    Setting("serve.image_root", "", msg('Folder of the photographs that {{"key": …}} may name; empty: none.')),
    Setting("serve.max_body_mb", 32, msg("Largest request body, in megabytes.")),
    Setting("serve.max_files", 64, msg("Most photographs in one call.")),
    Setting("serve.max_queue", 256, msg("Most photographs waiting; beyond it the server answers 429.")),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Config:
    """Read-only settings by dotted name: ``config.text("serve.host")``, ``config.number("serve.port")``."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    @classmethod
    def load(
        cls, toml_path: Path | None = None, *, env: Mapping[str, str] | None = None, **flags: Value | None
    ) -> Config:
        """Defaults, then mirada.toml, then the environment, then `flags` (``serve__port=9000``; None: not given).

        Raises UsageError for an unknown name or a value of the wrong type.
        """
        values: dict[str, Value] = {setting.name: setting.default for setting in SETTINGS}
        if toml_path is not None and toml_path.is_file():
            for name, raw in _read_toml(toml_path).items():
                values[name] = _checked(name, raw, str(toml_path))
        environ = os.environ if env is None else env
        for setting in SETTINGS:
            if setting.env in environ:
                values[setting.name] = _checked(setting.name, environ[setting.env], setting.env)
        for flag, given in flags.items():
            if given is not None:
                name = flag.replace("__", ".")
                values[name] = _checked(name, given, f"--{flag.rpartition('__')[2].replace('_', '-')}")
        return cls(values)

    def text(self, name: str) -> str:
        """The setting `name` as text."""
        return str(self._values[name])

    def integer(self, name: str) -> int:
        """The setting `name` as a whole number."""
        return int(self._values[name])

    def number(self, name: str) -> float:
        """The setting `name` as a number."""
        return float(self._values[name])

    def flag(self, name: str) -> bool:
        """The setting `name` as yes or no."""
        return bool(self._values[name])


def _read_toml(path: Path) -> dict[str, object]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(msg("{path} is not valid TOML: {error}.", path=path, error=error)) from error
    flat: dict[str, object] = {}
    for section, body in data.items():
        if isinstance(body, dict):
            flat.update({f"{section}.{name}": value for name, value in body.items()})
        else:
            flat[section] = body
    return flat


def _checked(name: str, raw: object, where: str) -> Value:
    setting = _BY_NAME.get(name)
    if setting is None:
        near = difflib.get_close_matches(name, _BY_NAME, n=1)
        hint = msg("Did you mean {name}?", name=near[0]) if near else None
        raise UsageError(msg("{where} has an unknown setting: {name}.", where=where, name=name), hint)
    kind = type(setting.default)
    try:
        if kind is bool:
            return _as_bool(raw)
        if isinstance(raw, bool) or (isinstance(raw, float) and kind is int):
            raise ValueError
        return kind(str(raw))
    except (TypeError, ValueError) as error:
        wanted = {bool: "true / false", int: "integer", float: "number", str: "text"}[kind]
        raise UsageError(
            msg(
                "{name} in {where} must be of type {wanted}; got {raw!r}.",
                name=name,
                where=where,
                wanted=wanted,
                raw=raw,
            )
        ) from error


def _as_bool(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(raw, str) and raw.lower() in words:
        return words[raw.lower()]
    raise ValueError(raw)
