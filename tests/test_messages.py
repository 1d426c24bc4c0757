"""Sentences: rendered late, in the reader's language; the Spanish catalogue is whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mirada.messages import Message, current_language, msg, msg_n, use_language

ROOT = Path(__file__).parents[1]


def test_a_message_is_rendered_when_read() -> None:
    message = msg("Run the main job on a rendered sample set.")
    with use_language("es"):
        spanish = str(message)
    assert str(message) == "Run the main job on a rendered sample set."
    assert spanish != str(message)


def test_values_with_braces_are_left_alone() -> None:
    assert str(msg("There is no Mirada workspace in {path}.", path="{x}")).endswith("{x}.")


def test_plural_follows_the_number() -> None:
    one, many = (str(msg_n("one photograph", "{n} photographs", n=n)) for n in (1, 3))
    assert (one, many) == ("one photograph", "3 photographs")


@pytest.mark.parametrize(("value", "language"), [("es_ES.UTF-8", "es"), ("en_GB", "en"), ("de_DE", "en"), ("C", "en")])
def test_the_locale_chooses_the_language(monkeypatch: pytest.MonkeyPatch, value: str, language: str) -> None:
    monkeypatch.delenv("MIRADA_LANG")
    monkeypatch.setenv("LC_ALL", value)
    assert current_language() == language


def test_the_spanish_catalogue_is_complete_and_compiled() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "make_locale.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_translations_keep_every_field() -> None:
    from babel.messages.pofile import read_po

    with (ROOT / "src/mirada/locale/es/LC_MESSAGES/mirada.po").open("rb") as handle:
        catalog = read_po(handle, locale="es")
    for entry in catalog:
        ids, strings = (x if isinstance(x, list | tuple) else (x,) for x in (entry.id, entry.string))
        fields = set(re.findall(r"(?<!\{)\{(\w+)", ids[-1]))
        if ids[0]:
            assert all(set(re.findall(r"(?<!\{)\{(\w+)", string)) <= fields for string in strings), entry.id
            assert set(re.findall(r"(?<!\{)\{(\w+)", strings[-1])) == fields, entry.id


def test_every_message_can_be_filled() -> None:
    assert Message("{text}", {"text": "{not a field}"}).render() == "{not a field}"
