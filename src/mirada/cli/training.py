"""``mirada train``, ``evaluate``, ``runs`` and ``compare``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from mirada.cli.curves import measure_curve
from mirada.cli.data import add_lines
from mirada.cli.output import Result, Settings, given_beside, per_cent, progress, speaks, table
from mirada.cli.predicting import model_option
from mirada.errors import UsageError
from mirada.messages import Message, decimal, msg
from mirada.types import EvalReport, Metric

if TYPE_CHECKING:
    from mirada.workflow.train import TrainResult

_backbone = click.option(
    "--backbone",
    metavar="NAME",
    help=str(msg("An .onnx file, or any timm model; default: the one that Mirada ships.")),
)
_weights = click.option(
    "--weights", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Weights of that model (.safetensors)."))
)
_precision = click.option(
    "--precision", type=click.Choice(["auto", "bf16", "f32"]), help=str(msg("Number format of the backbone."))
)
_seed = click.option("--seed", type=int, metavar="N", help=str(msg("Seed of splits, heads and intervals; default 0.")))
_recipe = click.option(
    "--recipe",
    metavar="NAME",
    help=str(msg("How to train: a recipe's name or a .toml file; `mirada recipes` lists them.")),
)
_epochs = click.option(
    "--epochs",
    type=click.IntRange(1),
    metavar="N",
    help=str(msg("Epochs of a network in all, instead of the recipe's; stages keep their shares.")),
)
_device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help=str(msg("Where a network trains; auto: on a GPU if there is one.")),
)


@click.command(
    help=str(
        msg(
            "Train a classifier. With SOURCE: add its photographs, split, embed, train, evaluate and bundle in one go; "
            "without: train on what the workspace holds."
        )
    ),
    epilog=str(msg("Example: mirada train photos/ --name products")),
)
@click.argument("source", required=False)
@_backbone
@_weights
@click.option("--name", help=str(msg("Name of the model; default: the folder's.")))
@click.option("--format", "fmt", metavar="F", help=str(msg("Format of the source, where it is not recognised.")))
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Labels of a flat folder.")))
@click.option("--ratios", metavar="A/B/C", help=str(msg("Shares of train, val and test; default 70/15/15.")))
@click.option(
    "--head", type=click.Choice(["logistic", "mlp"]), default="logistic", show_default=True,
    help=str(msg("What is trained on the embeddings.")),
)  # fmt: skip
@click.option(
    "--class-weight", type=click.Choice(["none", "balanced"]), default="none", show_default=True,
    help=str(msg("balanced: rare classes weigh as much as common ones.")),
)  # fmt: skip
@click.option("--subset", metavar="NAME", help=str(msg("Train on a subset that `mirada subset` drew.")))
@click.option("--flips", is_flag=True, help=str(msg("Train on mirrored photographs too.")))
@_recipe
@_epochs
@_device
@click.option("--resume", metavar="RUN", help=str(msg("Go on with a run that was interrupted.")))
@click.option(
    "--learning-curve", is_flag=True,
    help=str(msg("Train on growing parts of train and say what more photographs would bring; registers no model.")),
)  # fmt: skip
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE",
    help=str(msg("With --learning-curve: write its page to FILE.")),
)  # fmt: skip
@_precision
@_seed
@click.pass_obj
@speaks
def train(settings: Settings, *, fmt: str | None, learning_curve: bool, html: Path | None, **options: Any) -> Result:
    """The main job, or the learning curve of what it would train."""
    from mirada.workflow.data import open_source
    from mirada.workflow.subsetting import refuse_both
    from mirada.workflow.train import TrainRequest
    from mirada.workflow.train import train as run

    refuse_both(options["source"], options["subset"])
    if html is not None and not learning_curve:
        raise UsageError(
            msg("--html belongs to --learning-curve."), msg("The report of a training is always written; see its path.")
        )
    if options["resume"] is not None and (more := given_beside("resume")):
        raise UsageError(
            msg("--resume goes on with what the run was asked; it does not go with {more}.", more=", ".join(more)),
            msg("Leave out one of the two."),
        )
    if options["source"] is None:
        workspace = settings.open()
    else:
        open_source(options["source"], fmt=fmt, labels=options["labels"])  # a slip should leave no folder behind
        workspace = settings.create()
    request = TrainRequest(format=fmt, **options)
    if learning_curve:
        return measure_curve(workspace, request, html)
    result = run(workspace, request, progress=progress())
    added = add_lines(result.added.report) if result.added else []
    return Result(train_document(result), [*added, *train_lines(result, settings.workspace_path)])


def train_document(result: TrainResult) -> dict[str, object]:
    """What a program is told of a training."""
    bundle = result.bundle
    return {
        "run_id": result.run_id,
        "model": {"name": bundle.name, "version": bundle.version, "path": bundle.path},
        "class_names": list(result.class_names),
        "n": dict(result.n),
        "val": metrics_document(result.val) if result.val else None,
        "test": metrics_document(result.test),
        "champion": result.verdict.is_better,
        "network": _network_document(result),
        "second_opinion": dataclasses.asdict(result.second_opinion) if result.second_opinion else None,
        "notes": [str(note) for note in result.notes],
        "seconds": dict(result.seconds),
        "report": str(result.report_path),
    }


def _network_document(result: TrainResult) -> dict[str, object] | None:
    """What a program is told of a trained network; None for a head on embeddings."""
    trained = result.trained
    if trained is None:
        return None
    names = ("n_parameters", "n_trainable", "n_epochs", "best_epoch", "stop_reason")
    curves: dict[str, list[list[float]]] = {}
    for point in trained.curves:
        curves.setdefault(point.name, []).append([point.step, point.value])
    return {**{name: getattr(trained, name) for name in names}, "curves": curves}


def metrics_document(report: EvalReport) -> dict[str, object]:
    """Every figure of a report: {"value", "low", "high", "n"}."""
    return {name: dataclasses.asdict(metric) for name, metric in report.metrics.items()}


def train_lines(result: TrainResult, workspace_path: Path | None = None) -> list[str | Message]:
    """What a person is told of a training; `workspace_path` where the next command must name it."""
    bundle, n = result.bundle, result.n
    command = f"mirada --workspace {workspace_path}" if workspace_path else "mirada"
    return [
        "",
        msg(
            "{name}@{version}: {right} of {n} test photographs right, {accuracy} (95 % interval {low} to {high}).",
            name=bundle.name,
            version=bundle.version,
            **_accuracy(result.test),
        ),
        msg(
            "{classes} classes; trained on {train}, tuned on {val}, tested on {test}; {rejected} unreadable.",
            classes=len(result.class_names),
            train=n["train"],
            val=n["val"],
            test=n["test"],
            rejected=n["rejected"],
        ),
        *_network_lines(result),
        *(msg("· {note}", note=note) for note in result.notes),
        "",
        msg("Report:  {path}", path=result.report_path),
        msg("Model:   {path}", path=bundle.path),
        msg(
            "{seconds:.1f} s. Next: {command} predict PHOTOS, or {command} serve",
            seconds=result.seconds["total"],
            command=command,
        ),
    ]


def _network_lines(result: TrainResult) -> list[str | Message]:
    trained = result.trained
    if trained is None:
        return []
    return [
        msg(
            "{parameters:,} parameters, {trainable:,} of them trained; {n} epochs, the best was epoch {best}.",
            parameters=trained.n_parameters, trainable=trained.n_trainable,
            n=trained.n_epochs, best=trained.best_epoch,
        )
    ]  # fmt: skip


def _accuracy(report: EvalReport) -> dict[str, object]:
    metric = report.metrics["accuracy"]
    return {
        "right": round(metric.value * metric.n),
        "n": metric.n,
        "accuracy": per_cent(metric.value),
        "low": per_cent(metric.low),
        "high": per_cent(metric.high),
    }


@click.command(
    help=str(
        msg(
            "Say how good a model is: on its test photographs, on a second set (--on), "
            "or by cross-validation over all photographs of the workspace (--folds)."
        )
    ),
    epilog=str(msg("Example: mirada evaluate --on second-set/ --html report.html")),
)
@model_option
@click.option("--on", "source", metavar="SOURCE", help=str(msg("Photographs with labels that the model never saw.")))
@click.option(
    "--folds", type=click.IntRange(2, 50), metavar="N", help=str(msg("Pool all splits and cross-validate in N folds."))
)
@click.option("--format", "fmt", metavar="F", help=str(msg("Format of the source, where it is not recognised.")))
@click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Labels of a flat folder.")))
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help=str(msg("Write the report to FILE.")))
@click.option("--against", metavar="NAME", help=str(msg("With --folds: another recipe, compared on the same folds.")))
@_recipe
@_epochs
@_device
@_backbone
@_weights
@_precision
@_seed
@click.pass_obj
@speaks
def evaluate(settings: Settings, **options: Any) -> Result:
    """Judge a model, or a backbone by cross-validation."""
    from mirada.workflow.evaluate import EvaluateRequest
    from mirada.workflow.evaluate import evaluate as run

    made = run(settings.workspace_path, EvaluateRequest(**options), progress=progress())
    document = {
        "model": made.model,
        "subset": made.report.subset,
        "n": made.report.n,
        "metrics": metrics_document(made.report),
        "notes": [str(note) for note in made.notes],
        "fold_seconds": list(made.fold_seconds),
        "comparison": dataclasses.asdict(made.comparison) if made.comparison else None,
        "report": str(made.report_path) if made.report_path else None,
    }
    return Result(document, evaluate_lines(made.model, made.report, made.notes, made.report_path))


def evaluate_lines(
    model: str, report: EvalReport, notes: tuple[Message, ...], path: Path | None
) -> list[str | Message]:
    """What a person is told of an evaluation."""
    from mirada.evaluate.words import METRICS

    rows = [[METRICS[n].title if n in METRICS else n, *_figures(metric)] for n, metric in report.metrics.items()]
    per_class = [
        [name, *(_plain(figures.get(key)) for key in ("precision", "recall", "f1")), figures["recall"].n]
        for name, figures in report.per_class.items()
        if "recall" in figures
    ]
    lines: list[str | Message] = [
        msg("{model} on {subset}, {n} photographs", model=model, subset=report.subset, n=report.n),
        "",
        *table([msg("figure"), msg("value"), msg("low"), msg("high"), "n"], rows),
        "",
        *table([msg("class"), msg("precision"), msg("recall"), "F1", "n"], per_class),
        "",
        *(msg("· {note}", note=note) for note in notes),
    ]
    return [*lines, msg("Report:  {path}", path=path)] if path else lines


def _figures(metric: Metric) -> list[object]:
    return [*(decimal(value, 4) for value in (metric.value, metric.low, metric.high)), metric.n]


def _plain(metric: Metric | None) -> str:
    return "–" if metric is None else decimal(metric.value, 3)


@click.command(help=str(msg("List the runs.")), epilog=str(msg("Example: mirada runs")))
@click.pass_obj
@speaks
def runs(settings: Settings) -> Result:
    """Every run with its model's test accuracy."""
    from mirada.catalog.catalog import Catalog

    workspace = settings.open()
    with Catalog.open(workspace.catalog_url) as catalog:
        catalog.mark_interrupted()
        found = catalog.runs()
        # A version in int8 states the run of the one that it was made from, which came first.
        of_run = {model.run_id: model for model in reversed(catalog.models())}
    rows, document = [], []
    for run in found:
        model = of_run.get(run.run_id)
        accuracy = model.metrics.get("accuracy") if model else None
        total = run.seconds.get("total")
        rows.append(
            [
                run.run_id,
                run.status,
                f"{model.name}@{model.version}" if model else "–",
                run.config.model_name,
                per_cent(accuracy) if isinstance(accuracy, float | int) else "–",
                None if total is None else round(total, 1),
            ]
        )
        document.append(
            {**dataclasses.asdict(run), "model": model and {"name": model.name, "version": model.version},
             "test_accuracy": accuracy}
        )  # fmt: skip
    head = [msg("run"), msg("status"), msg("model"), msg("backbone"), msg("test accuracy"), msg("seconds")]
    return Result(document, table(head, rows) if rows else [msg("No run yet: `mirada train PHOTOS` makes one.")])


@click.command(
    help=str(msg("Compare two runs on the test photographs that both answered, with a paired test.")),
    epilog=str(msg("Example: mirada compare 20261121-093000-4f2a 20261121-101500-77c1")),
)
@click.argument("run_a", metavar="RUN")
@click.argument("run_b", metavar="RUN")
@click.pass_obj
@speaks
def compare(settings: Settings, *, run_a: str, run_b: str) -> Result:
    """Better, worse, or a tie."""
    from mirada.workflow.evaluate import compare_runs

    made = compare_runs(settings.open(), run_a, run_b)
    document: dict[str, object] = {"runs": [run_a, run_b], **dataclasses.asdict(made)}
    names: dict[Literal["a", "b"], str] = {"a": run_a, "b": run_b}
    return Result(document, [made.message(names["a"], names["b"])])
