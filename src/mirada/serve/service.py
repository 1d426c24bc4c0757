"""What the server answers, without HTTP: models at work, uploads, keys, feedback.

The API and the pages both stand on `Service`. Further models, versions, keys and measures hook in here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from mirada.catalog.catalog import Catalog
from mirada.engine.local import available_cpus
from mirada.errors import InputError, MiradaError, NotFound
from mirada.messages import msg
from mirada.predict.runtime import Loaded, Predictor
from mirada.serve.batcher import Batcher, BatchLimits
from mirada.serve.image_root import ImageRoot
from mirada.types import Feedback, Prediction

logger = logging.getLogger("mirada.serve")
CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class Upload:
    """An encoded photograph and the name its sender gave it."""

    filename: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one photograph: a prediction with every class, or the error it caused."""

    filename: str
    prediction: Prediction | None
    error: MiradaError | None = None


class ServedModel:
    """A predictor and the batcher before it."""

    def __init__(self, predictor: Predictor, *, decoders: ThreadPoolExecutor, limits: BatchLimits) -> None:
        self.predictor = predictor
        self.batcher: Batcher[bytes, Loaded, Prediction] = Batcher(
            self._decode, self._infer, decoders=decoders, limits=limits
        )

    def _decode(self, data: bytes) -> Loaded:
        loaded = self.predictor.load(("", data))
        if loaded.error is not None:
            raise loaded.error
        return loaded

    def _infer(self, batch: Sequence[Loaded]) -> list[Prediction]:
        # Every class is kept: how many of them are shown is each request's own choice.
        return self.predictor.answers(batch, top_k=len(self.predictor.class_names))


class Service:
    """The models being served. An async context manager: the batchers run within it."""

    def __init__(
        self,
        predictors: Mapping[str, Predictor],
        *,
        catalog: Catalog | None = None,
        image_root: Path | None = None,
        max_inside: int = 256,
    ) -> None:
        self._decoders = ThreadPoolExecutor(available_cpus(), thread_name_prefix="mirada-decode")
        limits = BatchLimits(max_inside=max_inside)
        made: dict[int, ServedModel] = {}
        for predictor in predictors.values():
            if id(predictor) not in made:
                made[id(predictor)] = ServedModel(predictor, decoders=self._decoders, limits=limits)
        self._models = {name: made[id(predictor)] for name, predictor in predictors.items()}
        self._served = list(made.values())
        self._catalog = catalog
        self._image_root = ImageRoot(image_root) if image_root is not None else None
        self._stack = AsyncExitStack()
        self.is_ready = False

    async def __aenter__(self) -> Service:
        for model in self._served:
            await self._stack.enter_async_context(model.batcher)
        self.is_ready = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_ready = False
        await self._stack.aclose()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        if self._catalog is not None:
            self._catalog.close()

    def model(self, name: str = CHAMPION) -> ServedModel:
        """The model served under `name`. Raises NotFound."""
        if name not in self._models:
            raise NotFound(
                msg("This server has no model {name}.", name=name),
                msg("It serves: {known}.", known=", ".join(sorted(self._models))),
            )
        return self._models[name]

    async def predict(self, model: ServedModel, uploads: Sequence[Upload], *, top_k: int) -> list[Answer]:
        """Answer each photograph with its best `top_k` classes. Raises Busy and TooLarge as the batcher does."""
        results = await model.batcher.submit([upload.data for upload in uploads])
        answers = [
            Answer(upload.filename, None, one)
            if isinstance(one, MiradaError)
            else Answer(upload.filename, replace(one, top_k=one.top_k[:top_k]))
            for upload, one in zip(uploads, results, strict=True)
        ]
        await self._log([answer.prediction for answer in answers if answer.prediction is not None])
        return answers

    async def predict_key(self, model: ServedModel, key: str, *, top_k: int) -> Answer:
        """The same for the file `key` below the image root. Raises NotFound for anything else, or DecodeError."""
        if self._image_root is None:
            raise NotFound(
                msg("This server has no folder of photographs."),
                msg("Set serve.image_root in mirada.toml to have one."),
            )
        data = await asyncio.to_thread(self._image_root.read, key, limits=model.predictor.limits)
        answer = (await self.predict(model, [Upload(key, data)], top_k=top_k))[0]
        if answer.error is not None:
            raise answer.error
        return answer

    async def feedback(self, prediction_id: str, label: str) -> None:
        """Store the right label of a prediction. Raises NotFound, or InputError for a label no model here knows."""
        if self._catalog is None:
            raise NotFound(
                msg("This server keeps no feedback: it serves a bundle without a workspace."),
                msg("Start it with `mirada --workspace DIR serve`."),
            )
        known = {name for model in self._served for name in model.predictor.class_names}
        if label not in known:
            raise InputError(
                msg("{label} is not a class of the model.", label=repr(label)),
                msg("Allowed: {known}.", known=", ".join(sorted(known))),
            )
        await asyncio.to_thread(self._catalog.feedback, Feedback(prediction_id, label))

    async def _log(self, predictions: Sequence[Prediction]) -> None:
        if self._catalog is None or not predictions:
            return
        try:
            await asyncio.to_thread(self._catalog.log_predictions, predictions)
        except MiradaError as error:
            # A full disk must not stop the answers; what is lost is the record of this one.
            logger.warning("predictions were answered but not recorded: %s", error)
