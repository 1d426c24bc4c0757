"""The upload page: choose or drop photographs, see the best three classes of each.

With JavaScript the page calls the API; without it the form is sent as a whole and answered here, as the same page.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.staticfiles import StaticFiles

from mirada.errors import Busy, MiradaError, Unavailable
from mirada.imaging.thumbnail import thumbnail_data_uri
from mirada.messages import current_language, msg, msg_n
from mirada.predict.runtime import TOP_K
from mirada.serve.errors import status_of
from mirada.serve.reading import read_uploads
from mirada.serve.service import Answer, Service, Upload

_HERE = Path(__file__).parent
_LANGUAGES = (("es", "Español"), ("en", "English"))
_NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Row:
    """A class and its score, ready to be read."""

    label: str
    score: float
    per_cent: str


@dataclass(frozen=True, slots=True)
class Card:
    """One photograph's answer, ready to be shown. `thumbnail` is a data: address."""

    filename: str
    thumbnail: str
    rows: tuple[Row, ...]
    rejected: bool
    error: str


def add_pages(app: FastAPI, service: Service, *, max_files: int) -> None:
    """Add the upload page, its form and its static files to `app`."""
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(render(service))

    @app.post("/predict", include_in_schema=False)
    async def upload(request: Request) -> HTMLResponse:
        model = service.model()
        try:
            model.batcher.check_room()
            uploads = await read_uploads(request, max_files=max_files)
            answers = await service.predict(model, uploads, top_k=TOP_K)
        except MiradaError as error:
            headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy | Unavailable) else None
            return HTMLResponse(render(service, notice=str(error)), status_of(error), headers=headers)
        thumbnails = await asyncio.to_thread(_thumbnails, uploads, answers)
        cards = [_card(answer, thumbnail) for answer, thumbnail in zip(answers, thumbnails, strict=True)]
        return HTMLResponse(render(service, cards=cards), HTTPStatus.OK)


def render(service: Service, *, cards: Sequence[Card] = (), notice: str = "") -> str:
    """The page in the language in force."""
    bundle = service.model().predictor.bundle
    return (
        _environment()
        .get_template("upload.html")
        .render(
            t=_texts(bundle.name, bundle.version, len(bundle.class_names)),
            lang=current_language(),
            languages=_LANGUAGES,
            class_names=bundle.class_names,
            answers=cards,
            notice=notice,
            top_k=TOP_K,
            static=_static,
        )
    )


def per_cent(score: float, language: str) -> str:
    """0.9333 → "93.3%" in English, "93,3 %" in Spanish, as the browser's own formatter writes it."""
    text = f"{100 * score:.1f}"
    return f"{text.replace('.', ',')}{_NO_BREAK_SPACE}%" if language == "es" else f"{text}%"


def _texts(name: str, version: int, n_classes: int) -> dict[str, str]:
    texts = {
        "title": msg("What is in the photograph?"),
        "about": msg_n(
            "The model {name}, version {version}, tells {n} class apart.",
            "The model {name}, version {version}, tells {n} classes apart.",
            n=n_classes,
            name=name,
            version=version,
        ),
        "show_classes": msg("Show the classes"),
        "drop": msg("Drop photographs here"),
        "choose": msg("Choose photographs"),
        "classify": msg("Classify"),
        "results": msg("Answers"),
        "unsure": msg("Unsure: ask a person"),
        "language": msg("Language"),
        "failed": msg("The server did not answer. Try again in a moment."),
        # The script fills {done} and {all}.
        "busy": msg("{{done}} of {{all}} done …"),
        "done": msg("{{done}} of {{all}} done."),
        "not_kept": msg("Photographs are not kept; only the answer and a fingerprint of the file may be."),
        "api": msg("The API for programs"),
    }
    return {key: str(text) for key, text in texts.items()}


def _thumbnails(uploads: Sequence[Upload], answers: Sequence[Answer]) -> list[str]:
    return [
        thumbnail_data_uri(upload.data) if answer.error is None else ""
        for upload, answer in zip(uploads, answers, strict=True)
    ]


def _card(answer: Answer, thumbnail: str) -> Card:
    language = current_language()
    scored = answer.prediction.top_k if answer.prediction is not None else ()
    return Card(
        filename=answer.filename,
        thumbnail=thumbnail,
        rows=tuple(Row(one.label, round(one.score, 4), per_cent(one.score, language)) for one in scored),
        rejected=answer.prediction is not None and answer.prediction.rejected,
        error=str(answer.error) if answer.error is not None else "",
    )


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined)


@cache
def _static(name: str) -> str:
    """The address of a static file, which changes with its content: browsers may keep it."""
    digest = hashlib.sha256((_HERE / "static" / name).read_bytes()).hexdigest()[:8]
    return f"/static/{name}?v={digest}"
