"""The process that listens: where it may, and until it is told to stop."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from mirada.config import Config
from mirada.errors import UsageError
from mirada.messages import msg
from mirada.serve.app import create_app
from mirada.workspace import Workspace

logger = logging.getLogger("mirada.serve")
_GRACE_S = 10


def serve(
    source: Workspace | Path | str | Sequence[Path | str],
    config: Config,
    *,
    precision: str = "auto",
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve `source` (see `create_app`) on serve.host and serve.port until interrupted; port 0 takes a free one.

    ``on_ready(url)`` is called once connections are accepted. Requests under way are finished before it returns.
    Raises UsageError for an address that is not allowed or taken, and what `create_app` raises.
    """
    import uvicorn

    host = config.text("serve.host")
    with listen(host, config.integer("serve.port")) as bound:
        app = create_app(source, config=config, precision=precision)
        bound.listen(2048)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{bound.getsockname()[1]}/"
        logger.info("listening on %s", url)
        if on_ready is not None:
            on_ready(url)
        options = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=_GRACE_S
        )
        uvicorn.Server(options).run(sockets=[bound])


def check_host(host: str) -> None:
    """Raises UsageError for an address that other machines can reach: there are no keys yet to keep them out."""
    try:
        is_local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise UsageError(
            msg("Mirada does not listen on {host}: without keys, anybody who reaches it could use it.", host=host),
            msg("Listen on 127.0.0.1, and put a server that checks who may enter before it."),
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to a local address; port 0 takes a free one. Raises UsageError where that is not possible."""
    check_host(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise UsageError(
            msg("Mirada cannot listen on {host}:{port}: {error}.", host=host, port=port, error=error),
            msg("Another server may be using the port; choose one with --port."),
        ) from error
    return bound
