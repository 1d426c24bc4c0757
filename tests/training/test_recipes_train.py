"""Every recipe trains: an epoch of each stage on 200 photographs, on the processor, and on a GPU if one is here.

Pretrained weights are not at hand here, so networks begin with random ones; everything else is as the recipe says.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mirada.models.recipe import Recipe
from mirada.models.recipes import all_recipes
from mirada.training.loop import fit
from mirada.training.networks import build
from mirada.training.outcome import FitOptions, LoopData
from mirada.training.trained import NetworkPlan

N, N_VAL, N_CLASSES = 200, 20, 5
RECIPES = [recipe for recipe in all_recipes() if recipe.kind == "network"]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")),
]


def photographs(side: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 (n, side, side, 3): flat colours by class with noise, so that any size is drawn at once."""
    rng = np.random.default_rng(0)
    y = np.arange(N + N_VAL) % N_CLASSES
    colours = rng.integers(40, 216, (N_CLASSES, 1, 1, 3))[y]
    noise = rng.integers(-30, 30, (N + N_VAL, side, side, 3), dtype=np.int16)
    return (colours + noise).clip(0, 255).astype(np.uint8), y.astype(np.int64)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_one_epoch_on_two_hundred_photographs(recipe: Recipe, device: str) -> None:
    bare = replace(recipe, model=replace(recipe.model, weights="none"))
    short = replace(bare, stages=tuple(replace(stage, epochs=1) for stage in bare.stages))
    network = build(NetworkPlan(recipe=short), n_classes=N_CLASSES)
    images, y = photographs(network.preprocess.input_size)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    data = LoopData(train=(images[:N], y[:N]), val=(images[N:], y[N:]), n_classes=N_CLASSES)
    fitted = fit(network, data, short, options=FitOptions(device=device))
    assert len(fitted.history) == len(short.stages)
    assert all(math.isfinite(record.train_loss) for record in fitted.history)
    assert all(record.val_accuracy is not None for record in fitted.history)
    after = fitted.network.state_dict()
    assert not torch.equal(after["head.weight"], before["head.weight"])
