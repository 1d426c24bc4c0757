"""Sentences for people, in Spanish and English.

Code writes each sentence once, in English, as ``msg("{n} photographs in {path}", n=3, path=p)``. It becomes
text only where a person reads it: ``str(message)`` uses the language in force (`use_language`, else the
locale), ``message.render("es")`` a named one. Translations are a gettext catalogue in ``locale/``; a test holds
it complete.
"""

from __future__ import annotations

import gettext
import os
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "es")
LOCALE_PATH = Path(__file__).parent / "locale"

_current: ContextVar[str | None] = ContextVar("mirada_language", default=None)


class _Formatter(string.Formatter):
    """``str.format``, with the decimal sign of a language."""

    def __init__(self, language: str) -> None:
        self._swap = str.maketrans(".,", ",.") if language == "es" else {}

    def format_field(self, value: object, format_spec: str) -> str:
        """As `str.format` does; numbers with a fraction get the language's decimal sign."""
        text = str(super().format_field(value, format_spec))
        return text.translate(self._swap) if isinstance(value, float) else text


_FORMATTERS = {language: _Formatter(language) for language in LANGUAGES}


def decimal(value: float, digits: int = 1, language: str | None = None) -> str:
    """A number with `digits` after the decimal sign of `language` (None: the one in force): "3.1", "3,1"."""
    return _FORMATTERS[catalogue_language(language)].format_field(float(value), f".{digits}f")


@dataclass(frozen=True)
class Message:
    """A sentence not yet in any language: an English template and what fills it."""

    template: str
    values: Mapping[str, object] = field(default_factory=dict)
    plural: str | None = None

    def render(self, language: str | None = None) -> str:
        """The sentence in `language` ("en" or "es"; None: the one in force)."""
        catalogue = _catalogue(catalogue_language(language))
        if self.plural is None:
            template = catalogue.gettext(self.template)
        else:
            template = catalogue.ngettext(self.template, self.plural, int(str(self.values["n"])))
        return _FORMATTERS[catalogue_language(language)].vformat(template, (), self.values)

    def __str__(self) -> str:
        return self.render()


def msg(template: str, /, **values: object) -> Message:
    """Mark an English sentence for translation; ``{name}`` fields are filled from `values`."""
    return Message(template, values)


def msg_n(one: str, many: str, /, *, n: int, **values: object) -> Message:
    """Like `msg`, choosing between a singular and a plural template by `n`."""
    return Message(one, {"n": n, **values}, plural=many)


def locale_language() -> str:
    """The language of the environment: MIRADA_LANG, LC_ALL, LC_MESSAGES, LANG in this order; else English."""
    for name in ("MIRADA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return value[:2].lower() if value[:2].lower() in LANGUAGES else "en"
    return "en"


def current_language() -> str:
    """The language in force in this context."""
    return _current.get() or locale_language()


def catalogue_language(language: str | None) -> str:
    """`language` where there is a catalogue for it, the one in force for None, else English."""
    wanted = language or current_language()
    return wanted if wanted in LANGUAGES else "en"


@contextmanager
def use_language(language: str) -> Iterator[None]:
    """Put `language` in force within the block (one request, one test)."""
    token = _current.set(language if language in LANGUAGES else "en")
    try:
        yield
    finally:
        _current.reset(token)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("mirada", LOCALE_PATH, languages=[language], fallback=True)
