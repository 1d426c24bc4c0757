"""Where photographs come from: folders, tables, packed data sets.

The built-in formats are registered here, in the order in which `detect` asks them. None of these modules
loads a heavy library before a photograph of its format is opened.
"""

from __future__ import annotations

from mirada.sources import cifar, folders, hub, packed, tables, yelp
from mirada.sources.base import Format, register

for _format in (
    Format("hub", hub.open_hub, hub.looks_like_hub),
    Format("arrow", packed.open_arrow, packed.looks_like_arrow),
    Format("cifar", cifar.open_cifar, cifar.looks_like_cifar),
    Format("yelp", yelp.open_yelp, yelp.looks_like_yelp),
    Format("parquet", packed.open_parquet, packed.looks_like_parquet),
    Format("csv", tables.open_csv, tables.looks_like_csv),
    Format("json", tables.open_json, tables.looks_like_json),
    Format("jsonl", tables.open_jsonl, tables.looks_like_jsonl),
    Format("folders", folders.open_folders, folders.looks_like_folders),
):
    register(_format)
