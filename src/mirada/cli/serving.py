"""``mirada serve``."""

from __future__ import annotations

import click

from mirada.cli.output import Settings
from mirada.config import Config
from mirada.messages import msg


@click.command(
    help=str(msg("Answer over HTTP with the champion, and show a page to upload photographs.")),
    epilog=str(msg("Example: mirada serve --port 8000")),
)
@click.option("--host", help=str(msg("Address to listen on; default 127.0.0.1.")))
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help=str(msg("Port to listen on; default 8000.")))
@click.pass_obj
def serve(settings: Settings, *, host: str | None, port: int | None) -> None:
    """Serve until interrupted."""
    from mirada.serve.run import serve as run_server

    workspace = settings.open()
    config = Config.load(workspace.path / "mirada.toml", serve__host=host, serve__port=port)

    def tell(url: str) -> None:
        told = msg("Mirada answers at {url} (a page to upload photographs, and the API). Ctrl+C stops it.", url=url)
        click.echo(str(told), err=True)

    run_server(workspace, config, on_ready=tell)
