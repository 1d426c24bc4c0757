"""The page: whole, safe, and quiet in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mirada.explore.columns import Columns, collect
from mirada.explore.oddness import oddest
from mirada.explore.page import MapPictures, PageContext, render
from mirada.explore.pictures import make_sheets
from mirada.explore.space import map_2d
from mirada.explore.summary import Summary, summarise
from mirada.imaging.statistics import STATISTICS
from mirada.testing import photo
from mirada.types import Rejected, Sample

NASTY = '</script><script>alert("x")</script>&<b>'


def made_page(language: str = "en", *, with_map: bool = True) -> str:
    """A page of 60 photographs, one class with a name that would break a careless page."""
    samples = [
        Sample(
            f"{i:03d}", f"sha{i}", f"/photos/{NASTY if i % 3 == 0 else 'plain'}-{i}.jpg", "/photos", 640 + i % 5, 480,
            "RGB", "JPEG", 1000 + i, label=None if i == 7 else NASTY if i % 2 else "cat", split="train",
        )
        for i in range(60)
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    columns = collect(samples)
    stats = rng.random((60, len(STATISTICS))).astype(np.float32)
    summary = summarise(columns, stats=stats, rejected=[Rejected("/x.jpg", "/photos", "empty")])
    return render(summary, columns, context=_context(columns, rng) if with_map else None, language=language)


def _context(columns: Columns, rng: np.random.Generator) -> PageContext:
    vectors = rng.normal(0, 1, (len(columns), 16)).astype(np.float32)
    rows = np.arange(len(columns))
    cells = np.where(rows < 50, rows, -1)
    sheets = make_sheets([photo(i, (60, 40), "webp") for i in range(50)])
    return PageContext(
        title=NASTY,
        placement=map_2d(vectors),
        pictures=MapPictures(rows, cells, sheets),
        extremes=oddest(vectors, columns.y)[1],
        thumbnails={i: photo(i, (80, 60), "webp") for i in range(40)},
        notes=["a note"],
    )


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_page_stands_alone_and_holds_what_it_should(language: str) -> None:
    page = made_page(language)
    assert f'<html lang="{language}">' in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith("data:")
    assert not re.search(r"url\(|@import|https?://", page)
    assert 'alert("x")</script>' not in page
    data = json.loads(re.search(r'id="map-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert data["n"] == 60
    assert len(data["files"]) == 60
    assert NASTY in data["names"]
    assert page.count("<li title=") >= 12


def test_without_a_map_or_a_photograph_there_is_still_a_page() -> None:
    assert 'id="canvas"' not in made_page(with_map=False)
    nothing: Summary = summarise(collect([]))
    assert "<h1>" in render(nothing, collect([]))


@pytest.mark.parametrize("size", ["1280,2400", "390,2400"])
def test_a_browser_opens_it_without_a_word(tmp_path: Path, size: str) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium on this machine")
    page = tmp_path / "page.html"
    page.write_text(made_page(), encoding="utf-8")
    log = tmp_path / "net.json"
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr", "--virtual-time-budget=3000", f"--log-net-log={log}", f"--window-size={size}",
    ]  # fmt: skip
    run = subprocess.run(
        [browser, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=200, check=False
    )
    # The script marks the page when all sheets of pictures are decoded.
    assert 'data-ready="yes"' in run.stdout, run.stderr[-2000:]
    assert "CONSOLE" not in run.stderr
    asked = set(re.findall(r'"url":"([^"]+)"', log.read_text(encoding="utf-8", errors="replace")))
    assert not [url for url in asked if url.startswith("http") and "google" not in url]
