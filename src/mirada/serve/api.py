"""The HTTP API: predict, feedback, health. Shapes as in the OpenAPI document at /openapi.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from mirada.errors import Unavailable
from mirada.messages import msg
from mirada.predict.runtime import TOP_K
from mirada.serve.reading import read_json, read_uploads
from mirada.serve.service import CHAMPION, Answer, ServedModel, Service

MAX_TOP_K = 1000
_DIGITS = 6

TopK = Annotated[int, Query(ge=1, le=MAX_TOP_K, description="How many classes to answer with, best first.")]


class ErrorBody(BaseModel):
    """What went wrong: a code for programs, a sentence and a next step for people."""

    code: str
    message: str
    hint: str


class ErrorAnswer(BaseModel):
    """Every error of this API."""

    error: ErrorBody


class ModelRef(BaseModel):
    """Which model answered."""

    name: str
    version: int


class ScoredLabel(BaseModel):
    """A class and its calibrated probability."""

    label: str
    score: Annotated[float, Field(ge=0, le=1)]


class PredictionAnswer(BaseModel):
    """The answer for one photograph. `rejected`: the model is unsure, ask a person."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "3f0c1f1c5d0f4a3f9f7c2a1b0e4d5c6b",
                "filename": "plate.jpg",
                "model": {"name": "restaurant", "version": 1},
                "predictions": [{"label": "food", "score": 0.93}, {"label": "drink", "score": 0.05}],
                "rejected": False,
            }
        }
    )

    id: str | None = Field(default=None, description="For feedback; absent where the photograph could not be read.")
    filename: str
    model: ModelRef
    predictions: list[ScoredLabel]
    rejected: bool
    error: ErrorBody | None = Field(
        default=None, description="Of several photographs in one call, the one that could not be read."
    )


class KeyRequest(BaseModel):
    """A photograph below the server's image root."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"key": "truck.jpg"}})

    key: Annotated[str, Field(min_length=1, max_length=4096)]


class FeedbackRequest(BaseModel):
    """The right label of a prediction."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"id": "3f0c1f1c5d0f4a3f", "label": "food"}}
    )

    id: Annotated[str, Field(min_length=1, max_length=64)]
    label: Annotated[str, Field(min_length=1, max_length=500)]


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """The models are loaded."""

    ready: bool


def api_router(service: Service, *, max_files: int) -> APIRouter:
    """The routes of the API over `service`."""
    router = APIRouter()

    async def predict(request: Request, model: ServedModel, top_k: int) -> JSONResponse:
        model.batcher.check_room()  # a full house refuses before it reads the body
        uploads = await read_uploads(request, max_files=max_files)
        answers = await service.predict(model, uploads, top_k=top_k)
        failures = [answer.error for answer in answers if answer.error is not None]
        if len(failures) == len(answers):
            raise failures[0]
        return _listed(answers, model)

    @router.post(
        "/api/predict",
        response_model=list[PredictionAnswer],
        responses=_errors(400, 413, 415, 422, 429, 503),
        openapi_extra=_PHOTO_BODY,
        summary="Classify photographs with the champion",
    )
    async def predict_champion(request: Request, top_k: TopK = TOP_K) -> JSONResponse:
        """Multipart with one or many fields `file`, or the raw bytes of one photograph."""
        return await predict(request, service.model(CHAMPION), top_k)

    @router.post(
        "/api/models/{name}/predict",
        response_model=list[PredictionAnswer],
        responses=_errors(400, 404, 413, 415, 422, 429, 503),
        openapi_extra=_json_body(KeyRequest),
        summary="Classify a photograph in the server's image root",
    )
    async def predict_key(
        request: Request,
        name: Annotated[str, Path(description="A model's name; `champion` is one.")],
        top_k: TopK = TOP_K,
    ) -> JSONResponse:
        """The file that `key` names, a path relative to `serve.image_root`; anything outside it is 404."""
        model = service.model(name)
        body = await read_json(request, KeyRequest)
        return _listed([await service.predict_key(model, body.key, top_k=top_k)], model)

    @router.post(
        "/api/feedback",
        status_code=204,
        response_class=Response,
        responses=_errors(400, 404, 413, 415, 422),
        openapi_extra=_json_body(FeedbackRequest),
        summary="Say the right label of a prediction",
    )
    async def feedback(request: Request) -> Response:
        """`id` is that of a prediction, `label` one of the model's classes. Kept in the workspace's catalogue."""
        body = await read_json(request, FeedbackRequest)
        await service.feedback(body.id, body.label)
        return Response(status_code=204)

    @router.get("/v2/health/live", summary="Whether the process answers")
    async def live() -> Live:
        """Open Inference Protocol v2."""
        return Live(live=True)

    @router.get("/v2/health/ready", responses=_errors(503), summary="Whether the models are loaded")
    async def ready() -> Ready:
        """Open Inference Protocol v2."""
        if not service.is_ready:
            raise Unavailable(msg("The models are not loaded yet."), msg("Ask again in a moment."))
        return Ready(ready=True)

    return router


def answer_document(answer: Answer, model: ServedModel) -> dict[str, Any]:
    """One photograph's answer as the API writes it."""
    bundle, prediction = model.predictor.bundle, answer.prediction
    document: dict[str, Any] = {
        **({"id": prediction.id} if prediction is not None else {}),
        "filename": answer.filename,
        "model": {"name": bundle.name, "version": bundle.version},
        "predictions": [],
        "rejected": False,
    }
    if prediction is not None:
        scored = [{"label": one.label, "score": round(one.score, _DIGITS)} for one in prediction.top_k]
        document |= {"predictions": scored, "rejected": prediction.rejected}
    elif answer.error is not None:
        document |= answer.error.to_json()
    return document


def _listed(answers: Sequence[Answer], model: ServedModel) -> JSONResponse:
    # Built as it is sent: validating our own answer against its schema again would cost more than making it.
    return JSONResponse([answer_document(answer, model) for answer in answers])


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorAnswer} for status in statuses}


def _json_body(model: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


_BINARY = {"type": "string", "format": "binary"}
_PHOTO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "minItems": 1, "items": _BINARY}},
                }
            },
            "image/*": {"schema": _BINARY},
            "application/octet-stream": {"schema": _BINARY},
        },
    }
}
