"""What a request brings: photographs as multipart or raw bytes, or a JSON document. All within the limits."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from mirada.errors import InputError, TooLarge
from mirada.messages import msg
from mirada.serve.errors import BadRequest, invalid
from mirada.serve.service import Upload

Document = TypeVar("Document", bound=BaseModel)
FIELD = "file"
_MAX_FIELDS = 16
# What clients say of raw bytes when they say anything: curl --data-binary claims a form.
_RAW_TYPES = ("", "application/octet-stream", "application/x-www-form-urlencoded")


async def read_uploads(request: Request, *, max_files: int) -> list[Upload]:
    """The photographs of a request, at least one.

    Raises BadRequest (400 empty or broken, 415 another content type), TooLarge, InputError for a form without
    the field ``file``.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return await _read_form(request, max_files)
    if content_type not in _RAW_TYPES and not content_type.startswith("image/"):
        raise BadRequest(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            msg("A photograph cannot be sent as {content_type}.", content_type=content_type[:80]),
            msg("Send multipart/form-data with the field `file`, or the bytes as image/* or application/octet-stream."),
            code="unsupported_media_type",
        )
    data = await request.body()
    if not data:
        raise _empty()
    return [Upload("", data)]


async def read_json(request: Request, model: type[Document]) -> Document:
    """The JSON body as `model`. Raises BadRequest (400 not JSON, 415 not sent as JSON), InputError for its fields."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        # Also what keeps other sites' pages out: a browser asks before it sends this type across origins.
        raise BadRequest(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            msg("This call takes application/json; got {content_type}.", content_type=content_type[:80] or "–"),
            code="unsupported_media_type",
        )
    data = await request.body()
    if not data:
        raise _empty()
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise BadRequest(
                HTTPStatus.BAD_REQUEST, msg("The body is not JSON: {why}.", why=first["msg"]), code="not_json"
            ) from error
        raise invalid(".".join(str(part) for part in first["loc"]) or "body", first["msg"]) from error


async def _read_form(request: Request, max_files: int) -> list[Upload]:
    # One more than allowed is let through, so that the limit is told as such below.
    parser = MultiPartParser(request.headers, request.stream(), max_files=max_files + 1, max_fields=_MAX_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(max_files) from error
        raise BadRequest(
            HTTPStatus.BAD_REQUEST, msg("The form cannot be read: {why}", why=error.message), code="bad_form"
        ) from error
    try:
        files = [one for one in form.getlist(FIELD) if isinstance(one, UploadFile)]
        if len(files) > max_files:
            raise _too_many(max_files)
        # A browser sends an empty form field as a file without name and bytes.
        uploads = [Upload(one.filename or "", await one.read()) for one in files if one.filename or one.size]
    finally:
        await form.close()
    if not uploads:
        raise InputError(
            msg("The form has no photograph in the field `file`."), msg("For example: curl -F file=@photo.jpg …")
        )
    return uploads


def _too_many(max_files: int) -> TooLarge:
    return TooLarge(
        msg("More than {most} photographs in one call.", most=max_files), msg("Send them in several calls.")
    )


def _empty() -> BadRequest:
    return BadRequest(
        HTTPStatus.BAD_REQUEST,
        msg("The body is empty."),
        msg("For example: curl -F file=@photo.jpg …"),
        code="empty_body",
    )
