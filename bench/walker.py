"""What the measurements share: DM Control's walker without a camera, and one update on it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reverie.core.model import sample_rows
from reverie.core.spec import Space
from reverie.learn.device import DeviceConfig, settle
from reverie.learn.fit import Fitter
from reverie.learn.optim import OptimiserConfig
from reverie.recipes.dreamer import DreamerRecipe, Size

OBS = {
    "orientations": Space((14,)),
    "height": Space((1,), unit="m"),
    "velocity": Space((9,)),
}
ACTION = Space((6,), low=-1.0, high=1.0)
DT = 0.025


def benchmark_update(
    size: Size = "1m", compile: bool = False, threads: int = 0
) -> tuple[Callable[[], None], int]:
    """One whole update on walker rows (B16 x T64, H15 from all 1024 states), and how many
    parameters it moves."""
    device = settle(DeviceConfig(device="cpu", threads=threads, compile=compile))
    learner = DreamerRecipe(size=size).build(OBS, ACTION, DT)
    if device.compile:
        learner.compile_parts(device.compiled)
    fitter = Fitter(learner, OptimiserConfig(), device)
    noise = device.generator(0)
    batch = sample_rows(learner.model.spec, 16, 64, torch.Generator().manual_seed(0))

    def update() -> None:
        fitter.fit(batch, (), noise)

    return update, sum(p.numel() for p in learner.parameters() if p.requires_grad)
