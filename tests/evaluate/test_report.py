from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mirada.errors import StorageError
from mirada.evaluate import charts
from mirada.evaluate.metrics import evaluate
from mirada.evaluate.report import TEMPLATES, ReportContext, render_html, report_json, write_html, write_json
from mirada.evaluate.words import METRICS, percent
from mirada.messages import LANGUAGES, msg, use_language
from mirada.types import EvalReport, Rejected

VOID = {"meta", "img", "input", "br", "hr", "link"}
HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted\" & 'single'",
    "two\nlines",
    "ñandú 🍲",
    "</style><b>",
    "{x} {{ 7*7 }} %s",
)


class Page(HTMLParser):
    """Checks nesting; gathers tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())

    def of(self, tag: str, class_: str = "") -> list[dict[str, str | None]]:
        found = [attrs for name, attrs in self.tags if name == tag]
        return [a for a in found if not class_ or class_ in (a.get("class") or "").split()]


def _report(names: tuple[str, ...], n: int, *, skill: float = 2.0, seed: int = 0, subset: str = "test") -> EvalReport:
    rng = np.random.default_rng(seed)
    y = np.sort(rng.integers(0, len(names), n))
    logits = rng.normal(0, 1, (n, len(names)))
    logits[np.arange(n), y] += skill
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    uris = [f"/photos/{names[c]}/IMG_{i}.jpg" for i, c in enumerate(y)]
    ids = [f"s{i}" for i in range(n)]
    return evaluate(
        probs, y, class_names=names, run_id="r1", subset=subset, sample_ids=ids, uris=uris, n_boot=200,
        notes=[msg("Told.")],
    )  # fmt: skip


def _webp() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 40, 40)).save(out, "WEBP")
    return out.getvalue()


CONTEXT = ReportContext(
    model_name="sports <1>", model_version=3, backbone="deit", dataset_id="abc", source="/photos",
    n={"train": 2110, "test": 75}, seed=7, precision="bf16", seconds={"add": 1.5, "total": 9.25},
    temperature=1.24, reject_threshold=0.62,
    created_at="2026-11-21", rejected=[Rejected(f"/p/{i}.jpg", "/p", ("truncated", "empty")[i % 2]) for i in range(7)],
    notes=[msg("A note of the context.")],
)  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("k", [2, 5, 15, 120])
def test_pages_of_any_number_of_classes_load_nothing_and_run_nothing(k: int, language: str) -> None:
    report = _report(tuple(f"class {i}" for i in range(k)), max(60, 3 * k))
    html = render_html(report, context=CONTEXT, thumbnails={report.worst[0].sample_id: _webp()}, language=language)
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|<script|<link|javascript:", html)
    assert not [a for _, a in page.tags if "style" in a or any(name.startswith("on") for name in a)]
    assert all((a["src"] or "").startswith("data:image/webp;base64,") for a in page.of("img"))
    assert not [a for _, a in page.tags if a.get("href")]
    assert page.of("html") == [{"lang": language}]
    assert len(html) < 700_000
    assert html.count('class="matrix"') == (k > 30)


def test_heatmaps_stand_beside_their_photographs() -> None:
    report = _report(("a", "b", "c"), 90, skill=0.5)
    first, second, third = (sample.sample_id for sample in report.worst[:3])
    plain = render_html(report, thumbnails={first: _webp()})
    assert not Page(plain).of("div", "pair")
    assert "the brighter the more" not in plain

    jpeg = b"\xff\xd8\xff heat"
    html = render_html(report, thumbnails={first: _webp(), second: _webp()}, heatmaps={first: jpeg, third: jpeg})
    page = Page(html)
    assert "the brighter the more" in page.words()
    assert len(page.of("div", "pair")) == len(report.worst)
    heat = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
    sources = [image["src"] or "" for image in page.of("img")]
    assert [source == heat for source in sources] == [False, True, False, True]
    assert page.of("img")[1]["alt"] == f"What spoke for the answer: {report.worst[0].prediction}"


def test_the_policy_allows_nothing_but_the_page_s_own_style() -> None:
    html = render_html(_report(("a", "b"), 30))
    policy = next(a["content"] or "" for a in Page(html).of("meta") if a.get("http-equiv"))
    style = html.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        policy == f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_hostile_names_are_shown_as_they_are_and_do_nothing() -> None:
    report = _report(HOSTILE, 90, skill=1.0)
    context = ReportContext(
        model_name=HOSTILE[0],
        source=HOSTILE[1],
        notes=HOSTILE,
        rejected=[Rejected(f"/p/{n}.jpg", "/p", n) for n in HOSTILE],
    )
    html = render_html(report, context=context)
    page, words = Page(html), Page(html).words()
    assert len(page.of("style")) == 1
    assert not page.of("script")
    assert len(page.of("b")) == 1 + len(page.of("p", "verdict")) + len(HOSTILE)
    for name in HOSTILE:
        assert " ".join(name.split()) in words


def test_a_name_that_is_not_valid_unicode_can_be_written(tmp_path: Path) -> None:
    report = _report(("bad \udcff name", "b"), 20)
    assert "bad ? name" in write_html(tmp_path / "r.html", report).read_text(encoding="utf-8")
    assert json.loads(write_json(tmp_path / "r.json", report).read_text(encoding="utf-8"))["n"] == 20


def test_the_first_sentences_say_how_good_with_interval_and_n() -> None:
    report = _report(tuple("abc"), 75)
    words = Page(render_html(report)).words()
    accuracy, right = report.metrics["accuracy"], sum(row[i] for i, row in enumerate(report.confusion))
    assert f"Of 75 test photographs, the model names {right} rightly." in words
    between = f"between {percent(accuracy.low)} and {percent(accuracy.high)}".replace("\u202f", " ")
    assert between in words.replace("\u202f", " ")
    assert "75 photographs are few" in words
    assert "It is weakest on" in words
    many = Page(render_html(_report(tuple("abc"), 3000, subset="holiday photos"))).words()
    assert "are few" not in many
    assert "“holiday photos”" in many


def test_what_was_trained_on_what_is_told() -> None:
    words = Page(render_html(_report(tuple("abc"), 75), context=CONTEXT)).words()
    for told in (
        "sports <1> 3",
        "deit",
        "abc",
        "2\u202f110 training photographs",
        "bf16",
        "adding 1.5 · in all 9.2",
        "A note of the context.",
    ):
        assert " ".join(told.split()) in words or told.replace("\u202f", " ") in words.replace("\u202f", " "), told
    assert "7" in words.split("Seed")[1][:4]


def test_counts_and_shares_of_the_matrix_are_those_of_the_report() -> None:
    report = _report(tuple("abcd"), 200)
    html = render_html(report)
    rows = re.findall(r'<tr><th scope="row"><span title="\w">.*?</tr>', html, re.S)
    assert len(rows) == 8  # four of counts, four of shares
    shown = [[0 if c == "·" else int(c) for c in re.findall(r'title="[^"]*">([^<]*)</td>', row)] for row in rows[:4]]
    assert shown == [list(row) for row in report.confusion]


def test_many_classes_show_their_most_frequent_mistakes_first() -> None:
    names = tuple(f"c{i:03d}" for i in range(120))
    report = _report(names, 1500, skill=1.0)
    times = [int(t) for t in re.findall(r'<tr><td>c\d+</td><td>c\d+</td><td class="n">(\d+)</td>', render_html(report))]
    most = max(n for i, row in enumerate(report.confusion) for j, n in enumerate(row) if i != j)
    assert times[0] == most
    assert times == sorted(times, reverse=True)


def test_worst_mistakes_are_pictures_and_a_missing_one_keeps_its_place() -> None:
    report = _report(tuple("abc"), 90, skill=1.0)
    first, second = report.worst[:2]
    page = Page(render_html(report, thumbnails={second.sample_id: _webp()}))
    assert [a["alt"] for a in page.of("img")] == [second.uri.rsplit("/", 1)[1]]
    assert len(page.of("div", "no-picture")) == len(report.worst) - 1
    assert first.uri in [a.get("title") for a in page.of("p", "file")]


def test_no_mistakes_and_no_context_make_a_page_too() -> None:
    report = _report(("cat", "dog"), 40, skill=20.0)
    assert report.worst == ()
    words = Page(render_html(report)).words()
    assert "every photograph got its label" in words
    assert "There is no mistake to show." in words
    assert "Files left out" not in words


def test_files_left_out_are_counted_by_reason_and_listed_up_to_a_bound() -> None:
    rejected = [Rejected(f"/p/{i:04d}.jpg", "/p", "truncated" if i % 3 else "empty") for i in range(700)]
    html = render_html(_report(("a", "b"), 30), context=ReportContext(rejected=rejected))
    words = Page(html).words()
    assert "466 The file ends early" in words
    assert "234 The file is empty" in words
    assert html.count('class="path"') == 500
    assert "and 200 more files" in words


def test_classes_without_photographs_show_a_dash() -> None:
    probs = np.tile([0.6, 0.3, 0.1], (12, 1))
    report = evaluate(probs, [0] * 6 + [1] * 6, class_names=("a", "b", "never"), n_boot=200)
    row = re.search(r'<th scope="row">never</th>.*?</tr>', render_html(report), re.S)
    assert row is not None
    assert row[0].count("–") == 3


def test_a_report_without_figures_is_still_a_page() -> None:
    empty = EvalReport("r", "test", 0, ("a", "b"), {}, {}, ((0, 0), (0, 0)), (), ())
    assert "There is no accuracy to tell." in Page(render_html(empty)).words()


def test_every_figure_that_we_compute_has_a_name_in_words() -> None:
    assert set(_report(tuple("abcdefg"), 100).metrics) <= set(METRICS)


def test_json_holds_every_figure_and_the_context(tmp_path: Path) -> None:
    report = _report(tuple("abc"), 75)
    read = json.loads(write_json(tmp_path / "report.json", report, context=CONTEXT).read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(report_json(report, context=CONTEXT)))
    assert read["schema"] == "mirada.report/1"
    accuracy = report.metrics["accuracy"]
    assert read["metrics"]["accuracy"] == {"value": accuracy.value, "low": accuracy.low, "high": accuracy.high, "n": 75}
    assert read["confusion"] == [list(row) for row in report.confusion]
    assert read["context"]["rejected"][0] == {"uri": "/p/0.jpg", "reason": "truncated", "detail": ""}
    assert "context" not in report_json(report)


def test_a_missing_folder_is_made_and_an_impossible_one_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = write_html(tmp_path / "new" / "folder" / "report.html", _report(("a", "b"), 20))
    assert made.is_file()
    with pytest.raises(StorageError, match="cannot write"):
        write_html(tmp_path / "file" / "report.html", _report(("a", "b"), 20))


def test_numbers_are_written_as_the_language_does() -> None:
    with use_language("en"):
        assert percent(0.9731) == "97.3\u202f%"
    with use_language("es"):
        assert percent(0.9731) == "97,3\u202f%"
    assert percent(0.99999) == "99.9\u202f%"
    assert percent(1.0) == "100.0\u202f%"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_matrix_cells_are_legible(theme: str) -> None:
    for kind, level in product(("right", "wrong"), range(1, charts.HEAT_LEVELS + 1)):
        back, ink = charts.heat_colours(theme, kind, level)
        assert charts.contrast(back, ink) >= 4.5, (kind, level)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_colours_are_legible_on_page_and_card(theme: int) -> None:
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", css, re.S)[theme]
    colours = {
        name: tuple(int(value[i : i + 2], 16) for i in (0, 2, 4))
        for name, value in re.findall(r"--(\w+): #(\w{6})", block)
    }
    for ink, back in product(("ink", "soft", "deep", "error"), ("page", "card")):
        assert charts.contrast(colours[ink], colours[back]) >= 4.5, (ink, back)
    assert charts.contrast(colours["soft"], colours["track"]) >= 4.5
    assert charts.contrast(colours["page"], colours["deep"]) >= 4.5
    assert charts.contrast(colours["value"], colours["track"]) >= 3  # a graphic, not a text
