"""Predictions that were answered, and what people said the right answer was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mirada.catalog.counters import Tally
from mirada.catalog.database import Database, chunked, now
from mirada.catalog.schema import feedback as feedback_table
from mirada.catalog.schema import predictions as table
from mirada.errors import NotFound
from mirada.messages import msg
from mirada.types import Feedback, Prediction, Scored


class PredictionLog:
    """The part of `Catalog` that logs predictions and feedback."""

    _db: Database

    def log_predictions(self, predictions: Sequence[Prediction]) -> None:
        """Store predictions, in one transaction; ids must be new."""
        with self._db.write() as connection:
            tally = Tally()
            at = now()
            for batch in chunked(predictions):
                connection.execute(sa.insert(table), [_row(prediction, at) for prediction in batch])
                for prediction in batch:
                    outcome = "error" if prediction.error else "rejected" if prediction.rejected else "ok"
                    tally.add(1, "predictions", prediction.model, str(prediction.version), outcome)
            tally.apply(connection)

    def prediction(self, prediction_id: str) -> Prediction:
        """A logged prediction. Raises NotFound."""
        with self._db.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.prediction_id == prediction_id)).one_or_none()
        if row is None:
            raise _no_prediction(prediction_id)
        return _prediction(row)

    def predictions(self, *, model: str | None = None, version: int | None = None) -> Iterator[Prediction]:
        """Logged predictions in the order they were answered, streamed."""
        last = 0

        def fetch(connection: Connection, n: int) -> list[Prediction]:
            nonlocal last
            query = sa.select(table).where(table.c.row_id > last)
            for column, value in ((table.c.model, model), (table.c.version, version)):
                query = query if value is None else query.where(column == value)
            rows = connection.execute(query.order_by(table.c.row_id).limit(n)).all()
            last = rows[-1].row_id if rows else last
            return [_prediction(row) for row in rows]

        return self._db.stream(fetch)

    def feedback(self, feedback: Feedback) -> None:
        """Store the right answer to a prediction. Raises NotFound for an unknown prediction."""
        with self._db.write() as connection:
            columns = (table.c.model, table.c.version, table.c.label)
            query = sa.select(*columns).where(table.c.prediction_id == feedback.prediction_id)
            row = connection.execute(query).one_or_none()
            if row is None:
                raise _no_prediction(feedback.prediction_id)
            values = {"prediction_id": feedback.prediction_id, "true_label": feedback.true_label}
            values |= {"given_by": feedback.by, "given_at": feedback.at or now()}
            connection.execute(sa.insert(feedback_table).values(values))
            tally = Tally()
            outcome = "right" if row.label == feedback.true_label else "wrong"
            tally.add(1, "feedback", row.model, str(row.version), outcome)
            tally.apply(connection)

    def feedbacks(self) -> Iterator[Feedback]:
        """All feedback in the order it came, streamed; later feedback on a prediction stands for earlier."""
        c = feedback_table.c
        last = 0

        def fetch(connection: Connection, n: int) -> list[Feedback]:
            nonlocal last
            query = sa.select(feedback_table).where(c.feedback_id > last).order_by(c.feedback_id).limit(n)
            rows = connection.execute(query).all()
            last = rows[-1].feedback_id if rows else last
            return [Feedback(row.prediction_id, row.true_label, row.given_by, row.given_at) for row in rows]

        return self._db.stream(fetch)


def _no_prediction(prediction_id: str) -> NotFound:
    return NotFound(msg("There is no prediction {prediction_id}.", prediction_id=prediction_id))


def _row(prediction: Prediction, at: str) -> dict[str, object]:
    names = ("model", "version", "label", "score", "sample_sha256", "milliseconds", "uri", "error")
    row: dict[str, object] = {name: getattr(prediction, name) for name in names}
    row |= {"prediction_id": prediction.id, "is_rejected": prediction.rejected, "predicted_at": at}
    return row | {"top_k": json.dumps([asdict(scored) for scored in prediction.top_k], ensure_ascii=False)}


def _prediction(row: sa.Row[*tuple[Any, ...]]) -> Prediction:
    top_k = tuple(Scored(scored["label"], scored["score"]) for scored in json.loads(row.top_k))
    answer = (row.label, row.score, top_k, row.is_rejected)
    more = (row.sample_sha256, row.milliseconds, row.uri, row.error)
    return Prediction(row.prediction_id, row.model, row.version, *answer, *more)
