"""The state of one small network on disk: safetensors, put in place at once, so that a killed run takes it up again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from mirada.errors import BackboneError, UsageError
from mirada.messages import msg
from mirada.training.checkpoint import put_tensors
from mirada.training.many_network import Inputs, ManyNetwork, ManyPrecision, ManySpec
from mirada.training.outcome import EpochRecord
from mirada.training.stopping import best_index, has_stalled, monitored


@dataclass(slots=True)
class ManyState:
    """A network on its way: what it weighs now and in its best epoch so far, and the epochs behind it."""

    network: ManyNetwork
    best: list[torch.Tensor]
    history: list[EpochRecord]
    diverged: bool = False

    @property
    def stalled(self) -> bool:
        """Whether it has stopped for good: no improvement for `patience` epochs, or a loss that is no number."""
        stage = self.network.spec.stage
        return self.diverged or has_stalled(stage, monitored(stage, self.history))

    @property
    def best_epoch(self) -> int:
        """The epoch, counted from 1, whose weights are kept; 0: none was trained."""
        stage = self.network.spec.stage
        return best_index(stage, monitored(stage, self.history)) + 1 if stage.restore_best else len(self.history)


def new_state(spec: ManySpec, inputs: Inputs, precision: ManyPrecision) -> ManyState:
    """A network that has learned nothing yet."""
    network = ManyNetwork(spec, inputs, precision)
    return ManyState(network, [weight.clone() for weight in network.weights], [])


def save_state(state: ManyState, path: Path) -> None:
    """Write it beside its name, then put it in place. Raises StorageError."""
    network = state.network
    tensors = {f"weights.{i:02d}": tensor for i, tensor in enumerate(network.weights)}
    tensors |= {f"moments.{i:02d}": tensor for i, tensor in enumerate(network.moments)}
    tensors |= {f"best.{i:02d}": tensor for i, tensor in enumerate(state.best)}
    about = {
        "spec": _plain(network.spec),
        "precision": network.precision,
        "step": network.step,
        "diverged": state.diverged,
        "history": [asdict(record) for record in state.history],
    }
    put_tensors(path, {name: tensor.cpu() for name, tensor in tensors.items()}, {"about": json.dumps(about)})


def read_state(path: Path, spec: ManySpec, inputs: Inputs, precision: ManyPrecision) -> ManyState | None:
    """What `save_state` wrote; None where there is nothing. Raises UsageError for the state of another network."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as kept:
            about = json.loads(kept.metadata()["about"])
            tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BackboneError(
            msg("{path} is not the state of a small network.", path=path),
            msg("Remove it: the network is then trained anew."),
        ) from error
    if about["spec"] != _plain(spec) or about["precision"] != precision:
        raise UsageError(
            msg("{path} is the state of another network, or of another precision.", path=path),
            msg("Choose another folder, or remove it."),
        )
    network = ManyNetwork(spec, inputs, precision, weights=_under(tensors, "weights."))
    network.moments = [tensor.to(inputs.device) for tensor in _under(tensors, "moments.")]
    network.step = int(about["step"])
    history = [EpochRecord(**record) for record in about["history"]]
    best = [tensor.to(inputs.device) for tensor in _under(tensors, "best.")]
    return ManyState(network, best, history, bool(about["diverged"]))


def _plain(spec: ManySpec) -> object:
    """What of a spec decides the weights, as JSON gives it back."""
    return json.loads(json.dumps(asdict(spec)))


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> list[torch.Tensor]:
    return [tensors[name] for name in sorted(tensors) if name.startswith(prefix)]
