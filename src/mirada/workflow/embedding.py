"""Embeddings of catalogued samples: cache, reader and network put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirada.embed.backbone import Backbone
from mirada.embed.cache import open_cache
from mirada.embed.embed import Embedded as OneView
from mirada.embed.embed import Failure, View, embed_samples
from mirada.embed.vino import resolve_precision
from mirada.engine.base import Progress
from mirada.messages import Message, msg, msg_n
from mirada.sources.reader import PhotoReader
from mirada.types import Precision, Sample
from mirada.workflow.data import engine, limits
from mirada.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Embedded:
    """vectors: float32 (n, d), NaN where `ok` (n,) is False; `flipped`: of the mirrored photographs."""

    vectors: NDArray[np.float32]
    flipped: NDArray[np.float32] | None
    ok: NDArray[np.bool_]
    failures: tuple[Failure, ...]
    precision: Precision

    @property
    def notes(self) -> tuple[Message, ...]:
        """What has to be told of the photographs that could not be embedded."""
        if not self.failures:
            return ()
        first = self.failures[0]
        return (
            msg_n(
                "{n} photograph was left out: {uri} ({reason}).",
                "{n} photographs were left out, such as {uri} ({reason}).",
                n=len(self.failures), uri=first.sample.uri, reason=first.error.message,
            ),
            msg("`mirada add` of the same folder brings the catalogue up to date."),
        )  # fmt: skip


def embed(
    workspace: Workspace,
    samples: Sequence[Sample],
    backbone: Backbone,
    *,
    progress: Progress,
    precision: Precision | None = None,
    flips: bool = False,
) -> Embedded:
    """Embed `samples` with `backbone`, from the workspace's cache where it has them."""
    used = resolve_precision(precision or workspace.config.text("embed.precision"))

    def view(name: View) -> OneView:
        cache = open_cache(workspace.embeddings_path, backbone, used, view=name)
        with engine(workspace) as pool:
            return embed_samples(
                samples, backbone, reader=PhotoReader(limits=limits(workspace)), cache=cache, engine=pool,
                precision=used, progress=progress, view=name, limits=limits(workspace),
            )  # fmt: skip

    plain = view("")
    flipped = view("flip") if flips else None
    ok = plain.ok if flipped is None else plain.ok & flipped.ok
    return Embedded(plain.vectors, flipped.vectors if flipped else None, ok, plain.failures, used)
