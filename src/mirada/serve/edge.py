"""The outermost layer: size of bodies, language, crashes, and headers that tell browsers what they may do."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mirada.errors import TooLarge
from mirada.messages import LANGUAGES, locale_language, msg, use_language
from mirada.serve.errors import crash_response

logger = logging.getLogger("mirada.serve")

SECURITY_HEADERS = {
    # No inline script or style. data: and blob: are the thumbnails of what a visitor uploads.
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Edge:
    """ASGI middleware. `max_body` is in bytes: a longer body is refused unread, or as soon as it passes that."""

    def __init__(self, app: ASGIApp, *, max_body: int) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        has_started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        with use_language(language_of(scope)):
            try:
                await self._app(scope, self._limited(scope, receive), send_with_headers)
            except Exception:  # the outermost border: a fault of ours costs this request alone
                if has_started:
                    raise
                logger.exception("%s %s failed", scope["method"], scope["path"])
                await crash_response()(scope, receive, send_with_headers)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        declared = Headers(scope=scope).get("content-length", "")
        n_read = int(declared) if declared.isdecimal() else 0
        is_declared = n_read > 0

        async def limited() -> Message:
            nonlocal n_read
            if n_read > self._max_body:
                raise self._too_large()
            message = await receive()
            if not is_declared and message["type"] == "http.request":
                n_read += len(message.get("body", b""))
                if n_read > self._max_body:
                    raise self._too_large()
            return message

        return limited

    def _too_large(self) -> TooLarge:
        return TooLarge(
            msg("The request is larger than {most} MB.", most=self._max_body // 1_000_000),
            msg("Send fewer or smaller photographs; serve.max_body_mb raises the limit."),
        )


def language_of(scope: Scope) -> str:
    """The language of the answer: ``?lang=``, else Accept-Language, else the server's own."""
    asked = QueryParams(scope.get("query_string", b"")).get("lang", "")
    if asked in LANGUAGES:
        return asked
    ranked: list[tuple[float, str]] = []
    for part in Headers(scope=scope).get("accept-language", "").split(","):
        tag, _, weight = part.partition(";")
        language = tag.strip()[:2].lower()
        if language in LANGUAGES:
            ranked.append((_weight(weight), language))
    # max takes the first of equals: the order in the header.
    return max(ranked, key=lambda pair: pair[0], default=(0.0, locale_language()))[1]


def _weight(text: str) -> float:
    try:
        return float(text.strip().removeprefix("q=")) if text.strip() else 1.0
    except ValueError:
        return 0.0
