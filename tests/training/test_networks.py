"""What a training says of the weights it began with."""

from __future__ import annotations

from pathlib import Path

import pytest

from mirada.models.recipes import load_recipe

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # torch warns about its own insides


@pytest.mark.parametrize(
    ("stated", "told"),
    [({"license": "apache-2.0"}, "apache-2.0"), (None, "not stated (fine-tuned from w.safetensors)")],
)
def test_a_fine_tuned_network_keeps_the_licence_of_its_weights(
    tmp_path: Path, stated: dict[str, str] | None, told: str
) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from mirada.training.networks import _licence
    from mirada.training.trained import NetworkPlan

    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", stated)
    plan = NetworkPlan(recipe=load_recipe("balanced"), weights=tmp_path / "w.safetensors")
    assert _licence(plan) == told
    assert _licence(NetworkPlan(recipe=load_recipe("cifar-fast"))) == "your own"
