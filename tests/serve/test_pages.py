"""The upload page: two languages, no inline script or style, and an answer without JavaScript."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from mirada.testing.models import colour_photo
from mirada.web.pages import per_cent


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_page(client: httpx.Client) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    page = Page(response.text)
    assert page.all("html")[0]["lang"] == "en"
    assert "What is in the photograph?" in page.text
    assert [name for name in ("blue", "green", "red") if name in page.text] == ["blue", "green", "red"]
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href", "action"):
            assert not re.match(r"(https?:)?//", attributes.get(name) or ""), attributes
    assert all(script.get("src") for script in page.all("script"))
    assert not page.all("style")
    linked = [attributes.get("src") or attributes.get("href") for attributes in page.all("script") + page.all("link")]
    assert len(linked) == 3
    for path in linked:
        assert path is not None
        assert client.get(path).status_code == 200


def test_language(client: httpx.Client) -> None:
    def language(path: str = "/", accept: str = "") -> str | None:
        return Page(client.get(path, headers={"accept-language": accept}).text).all("html")[0]["lang"]

    assert language(accept="es-MX,es;q=0.9,en;q=0.5") == "es"
    assert language(accept="fr, en;q=0.4, es;q=0.8") == "es"
    assert language(accept="de") == "en"
    assert language(accept="es;q=x") == "es"
    assert language("/?lang=en", accept="es") == "en"
    assert language("/?lang=es", accept="en") == "es"
    assert language("/?lang=<script>", accept="es") == "es"


def test_form_without_javascript(client: httpx.Client) -> None:
    files = [
        ("file", ("<b>red</b>.jpg", colour_photo("red"))),
        ("file", ("grey.png", _grey())),
        ("file", ("notes.txt", b"no photograph")),
    ]
    response = client.post("/predict", files=files)
    assert response.status_code == 200
    assert "<b>red" not in response.text
    page = Page(response.text)
    assert "<b>red</b>.jpg" in page.text
    assert "98." in page.text
    assert "not a photograph" in page.text
    thumbnails = [image["src"] for image in page.all("img") if (image.get("src") or "").startswith("data:")]
    assert len(thumbnails) == 2
    unsure = [attributes for attributes in page.all("p") if attributes.get("class") == "unsure"]
    assert ["hidden" in attributes for attributes in unsure] == [True, False, True, True]  # the last is the template


@pytest.mark.parametrize(
    ("request_", "status", "sentence"),
    [
        ({"files": {"file": ("", b"")}}, 422, "no photograph"),
        ({"files": [("file", (f"{i}.jpg", b"x")) for i in range(9)]}, 413, "More than 8"),
        ({"files": {"file": ("a.jpg", b"0" * 3_000_000)}}, 413, "larger than 2 MB"),
        ({"content": b""}, 400, "empty"),
    ],
)
def test_bad_forms_get_the_page_with_a_sentence(
    client: httpx.Client, request_: dict[str, object], status: int, sentence: str
) -> None:
    response = client.post("/predict", **request_)  # type: ignore[arg-type]
    assert response.status_code == status
    assert sentence in Page(response.text).text


def test_per_cent() -> None:
    assert per_cent(0.9333, "en") == "93.3%"
    assert per_cent(0.9333, "es") == "93,3\N{NO-BREAK SPACE}%"
    assert per_cent(1.0, "en") == "100.0%"


def _grey() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (128, 128, 128)).save(buffer, "PNG")
    return buffer.getvalue()
