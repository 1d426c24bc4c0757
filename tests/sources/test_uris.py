from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirada.sources.uris import file_uri, row_uri, shown, split_row, uri_name, uri_path

PART = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


def test_a_plain_path_is_its_own_uri() -> None:
    assert file_uri("/photos/a cat's “photo” 🐈.jpg") == "/photos/a cat's “photo” 🐈.jpg"


@pytest.mark.parametrize(
    "path", ["/a/train.parquet#17/x.jpg", "/a/#3/x.jpg", "/a/b#12", os.fsdecode(b"/a/caf\xe9.jpg")]
)
def test_a_path_that_is_not_text_or_reads_like_a_row_is_encoded(path: str) -> None:
    uri = file_uri(path)
    assert uri.startswith("file:///a/")
    uri.encode("utf-8")
    assert split_row(uri) is None
    assert uri_path(uri) == path


@given(st.lists(PART, min_size=1, max_size=4))
def test_every_path_comes_back_from_its_uri(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert uri_path(file_uri(path)) == path
    assert split_row(file_uri(path)) is None


@given(st.lists(PART, min_size=1, max_size=3), st.integers(0, 10**9), st.text(max_size=20))
def test_every_row_comes_back_from_its_uri(parts: list[str], row: int, name: str) -> None:
    container = file_uri("/" + "/".join(parts))
    uri = row_uri(container, row, name)
    uri.encode("utf-8")
    assert split_row(uri) == (container, row)


def test_a_row_ends_with_its_own_name() -> None:
    assert row_uri("/d/t.parquet", 3, "train/cat/01.jpg") == "/d/t.parquet#3/01.jpg"
    assert row_uri("/d/t.parquet", 3) == "/d/t.parquet#3"
    assert uri_name("/d/t.parquet#3/01.jpg") == "01.jpg"
    assert uri_name("/d/t.parquet#3") == "3"
    assert uri_name(file_uri(os.fsdecode(b"/a/caf\xe9.jpg"))) == "caf\\xe9.jpg"
    assert row_uri("/d/t.parquet", 3, "a\nb%c.jpg") == "/d/t.parquet#3/a%0Ab%25c.jpg"


def test_shown_names_are_safe_to_print() -> None:
    assert shown("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert shown(os.fsdecode(b"caf\xe9")) == "caf\\xe9"
    assert "\u202e" not in shown("gpj.\u202eexe")
