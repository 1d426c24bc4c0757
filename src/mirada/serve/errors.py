"""Every failure as the one JSON shape: {"error": {"code", "message", "hint"}}, with the right status."""

from __future__ import annotations

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mirada.errors import Busy, DecodeError, InputError, MiradaError, Unavailable
from mirada.messages import Message, msg

logger = logging.getLogger("mirada.serve")

# Photographs refused for their size before they are decoded: the request is too large, not of a wrong kind.
_TOO_LARGE = frozenset(["too_many_bytes", "too_many_pixels", "too_long_side"])


class BadRequest(MiradaError):
    """The request is not what HTTP or this call wants; the status comes with it."""

    code = "bad_request"

    def __init__(self, status: int, message: Message, hint: Message | None = None, *, code: str) -> None:
        super().__init__(message, hint, code=code)
        self.status = status


def install(app: FastAPI) -> None:
    """Give `app` the handlers that turn every failure into the one shape (a crash: see `edge`)."""
    app.add_exception_handler(MiradaError, _on_mirada_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


def status_of(error: MiradaError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, BadRequest):
        return error.status
    if isinstance(error, DecodeError) and error.code in _TOO_LARGE:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return error.http_status


def error_response(error: MiradaError, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a request that failed with `error`, in the language in force."""
    extra = dict(headers or {})
    if isinstance(error, Busy | Unavailable):
        extra["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(error.to_json(), status_code=status_of(error), headers=extra)


async def _on_mirada_error(request: Request, error: Exception) -> JSONResponse:
    known = error if isinstance(error, MiradaError) else InputError(msg("The request failed."))
    if status_of(known) >= HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("%s %s: %s", request.method, request.url.path, known, exc_info=error)
    return error_response(known)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    path = request.url.path
    if status == HTTPStatus.NOT_FOUND:
        known = BadRequest(status, msg("There is nothing at {path}.", path=path), code="not_found")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        message = msg("{path} does not answer to {method}.", path=path, method=request.method)
        hint = msg("Allowed: {allowed}.", allowed=headers.get("Allow", headers.get("allow", "–")))
        known = BadRequest(status, message, hint, code="method_not_allowed")
    else:
        phrase = HTTPStatus(status).phrase
        known = BadRequest(status, msg("{phrase}.", phrase=phrase), code=phrase.lower().replace(" ", "_"))
    return error_response(known, headers=headers)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    first = error.errors()[0] if isinstance(error, RequestValidationError) and error.errors() else {}
    where = ".".join(str(part) for part in first.get("loc", ())) or request.url.path
    return error_response(invalid(where, str(first.get("msg", ""))))


def crash_response() -> JSONResponse:
    """The answer where the server itself failed; the visitor learns no details."""
    message = msg("Something went wrong in the server.")
    return error_response(BadRequest(500, message, msg("The server's log has the details."), code="internal"))


def invalid(where: str, what: str) -> InputError:
    """422 for a field that is missing or not allowed."""
    return InputError(
        msg("{where} is not valid: {what}.", where=where, what=what.rstrip(".")),
        msg("/openapi.json says what is allowed."),
    )
