"""Bring the Spanish catalogue up to date: extract, merge, compile.

    .venv/bin/python tools/make_locale.py [--check]

Sentences come from ``msg`` and ``msg_n`` in src/mirada and from click, whose words the command line prints. Write the
missing translations into src/mirada/locale/es/LC_MESSAGES/mirada.po and run it again. With --check nothing is
written, and an incomplete or outdated catalogue is an error.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir, extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mirada"
PO_PATH = SOURCE / "locale" / "es" / "LC_MESSAGES" / "mirada.po"
OURS = {"msg": None, "msg_n": (1, 2)}
CLICKS = {"_": None, "ngettext": (1, 2)}
# Parts of click that this command line never shows.
CLICK_FILES = ("core.py", "exceptions.py", "formatting.py", "types.py", "decorators.py", "parser.py")


def sentences() -> Iterator[str | tuple[str, ...]]:
    """Every message id: ours first, then click's."""
    found = extract_from_dir(str(SOURCE), method_map=[("**.py", "python")], keywords=OURS)
    yield from (message for _, _, message, _, _ in found)
    click_path = Path(click.__file__).parent
    for name in CLICK_FILES:
        for _, message, _, _ in extract_from_file("python", click_path / name, keywords=CLICKS):
            yield message


def updated() -> Catalog:
    """The catalogue with every sentence of today and the translations it had."""
    template = Catalog(project="mirada", charset="utf-8", fuzzy=False)
    for message in sentences():
        template.add(message)
    with PO_PATH.open("rb") as handle:
        catalog = read_po(handle, locale="es")
    # The time of extraction would make every run's files differ.
    template.creation_date = catalog.creation_date
    catalog.update(template, no_fuzzy_matching=True)
    catalog.obsolete.clear()
    return catalog


def missing(catalog: Catalog) -> list[str]:
    """Sentences without a translation."""
    return [str(m.id) for m in catalog if m.id and not (all(m.string) if isinstance(m.string, tuple) else m.string)]


def main() -> int:
    """Write the catalogue, or check it."""
    catalog = updated()
    gaps = missing(catalog)
    for gap in gaps:
        print(f"not translated: {gap}")
    po, mo = io.BytesIO(), io.BytesIO()
    write_po(po, catalog, width=110, no_location=True, omit_header=False, sort_output=True)
    write_mo(mo, catalog)
    mo_path = PO_PATH.with_suffix(".mo")
    if "--check" in sys.argv:
        return 1 if gaps or mo_path.read_bytes() != mo.getvalue() else 0
    PO_PATH.write_bytes(po.getvalue())
    mo_path.write_bytes(mo.getvalue())
    print(f"{len(catalog)} sentences, {len(gaps)} not translated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
