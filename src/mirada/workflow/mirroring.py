"""What the MLflow mirror is told of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mirada.catalog.catalog import Catalog
from mirada.release.registry import CHAMPION
from mirada.track import queue as track
from mirada.training.trained import CurvePoint
from mirada.types import Bundle, EvalReport, Run
from mirada.workspace import Workspace

EXPERIMENT = "mirada"


def mirror_run(
    workspace: Workspace,
    catalog: Catalog,
    run: Run,
    bundle: Bundle,
    *,
    reports: Mapping[str, EvalReport],
    artifacts: tuple[Path, ...],
    is_champion: bool,
    curves: Sequence[CurvePoint] = (),
) -> None:
    """Leave the run for the mirror and start it; nothing waits for it."""
    if not workspace.config.flag("track.enabled"):
        return
    metrics = {f"{subset}_{name}": m.value for subset, report in reports.items() for name, m in report.metrics.items()}
    mirrored = track.RunMirror(
        run_id=run.run_id,
        experiment=EXPERIMENT,
        params={name: str(value) for name, value in asdict(run.config).items()},
        metrics={**metrics, **{f"seconds_{stage}": value for stage, value in run.seconds.items()}},
        tags={"dataset_id": run.dataset_id, "split_id": run.split_id, "git_sha": run.git_sha, **run.environment},
        artifacts=tuple(str(path) for path in (*artifacts, Path(bundle.path) / "manifest.json")),
        model_name=bundle.name,
        model_version=bundle.version,
        bundle_path=bundle.path,
        # Names of their own: MLflow would show the last epoch's val_accuracy for that of the model.
        curves=tuple((f"epoch_{point.name}", point.step, point.value) for point in curves),
    )
    track.enqueue_run(catalog, mirrored)
    if is_champion:
        track.enqueue_alias(catalog, track.AliasMirror(bundle.name, CHAMPION, bundle.version))
    track.start_mirror(workspace)
