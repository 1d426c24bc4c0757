"""Settings: each once, from file, environment and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirada.config import SETTINGS, Config
from mirada.errors import UsageError


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    toml = tmp_path / "mirada.toml"
    toml.write_text("[serve]\nport = 1\nhost = 'filehost'\nmax_files = 7\n")
    config = Config.load(toml, env={"MIRADA_SERVE_PORT": "2", "MIRADA_SERVE_HOST": "envhost"}, serve__port=3)
    assert config.integer("serve.port") == 3
    assert config.text("serve.host") == "envhost"
    assert config.integer("serve.max_files") == 7
    assert config.integer("serve.max_queue") == 256


def test_an_unknown_setting_is_refused_with_the_nearest(tmp_path: Path) -> None:
    toml = tmp_path / "mirada.toml"
    toml.write_text("[serve]\nprot = 1\n")
    with pytest.raises(UsageError, match=r"unknown setting: serve\.prot.*serve\.port"):
        Config.load(toml, env={})


@pytest.mark.parametrize(
    ("name", "value"), [("serve.port", "eighty"), ("track.enabled", "perhaps"), ("serve.port", True)]
)
def test_a_value_of_the_wrong_type_is_refused(name: str, value: str | bool) -> None:
    with pytest.raises(UsageError, match=name):
        Config.load(env={}, **{name.replace(".", "__"): value})


def test_broken_toml_is_a_sentence(tmp_path: Path) -> None:
    toml = tmp_path / "mirada.toml"
    toml.write_text("[serve\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        Config.load(toml, env={})


def test_yes_and_no_in_the_environment() -> None:
    assert Config.load(env={"MIRADA_TRACK_ENABLED": "off"}).flag("track.enabled") is False


def test_names_are_unique_and_helped() -> None:
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    assert all(str(setting.help) for setting in SETTINGS)
