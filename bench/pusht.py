"""How well a video model predicts PushT: pictures, the block, the action, speed, 200 frames.

    bash bench/pusht.sh          # records and trains
    python bench/pusht.py runs/pusht/unisim --data runs/pusht/held-out --out FILE.json

PSNR is that of the mean squared error over all windows, pictures in 0..1. "Repeat" is the last
frame seen. The block is found in pictures by its colour; how far the finder itself is off is
measured on true pictures, whose state is recorded.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.core import rollout
from reverie.data.datasets import open_dataset
from reverie.eval.controllability import controllability
from reverie.eval.predict import predict
from reverie.eval.windows import Windows, from_store
from reverie.recipes.run import load
from reverie.viz.provenance import provenance

OBSERVED, HORIZON = 4, 16
COLOURS = (
    torch.tensor(
        [[255, 255, 255], [143, 163, 184], [144, 238, 144], [78, 126, 255], [228, 228, 228]]
    )
    / 255
)
"""Table, block, goal, agent; and the walls, which are the outermost pixels."""
LONG = 4
"""Denoising steps up to which rollouts of 200 frames are measured."""
TABLE = 512
"""PushT's own units along a side."""


def block_centre(image: Tensor) -> Tensor:
    """Where the block is, in units of the table `[N, 2]`, from pictures `[N, 3, h, w]`.

    A pixel within the walls is a mixture of four colours, and of four there is one mixture that
    gives it. The place is the mean over pixels of the block's share, where the share around is at
    least half of the most anywhere: a block that is faint or blurred, as in the mean of what may
    come, is found by the same rule.
    """
    mixing = torch.cat([COLOURS[:4], torch.ones(4, 1)], 1).T.inverse()
    pixels = torch.cat([image, torch.ones_like(image[:, :1])], 1)
    share = torch.einsum("c,nchw->nhw", mixing[1], pixels).clamp(0, 1)
    share = F.pad(share[:, 1:-1, 1:-1], (1, 1, 1, 1))
    around = F.avg_pool2d(share[:, None], 3, 1, 1)[:, 0]
    share = share * (around >= 0.5 * around.amax((1, 2), keepdim=True))
    size = image.shape[-1]
    at = (torch.arange(size) + 0.5) * TABLE / size
    total = share.sum((1, 2)).clamp(min=1e-6)
    return torch.stack([(share.sum(1) * at).sum(1), (share.sum(2) * at).sum(1)], 1) / total[:, None]


def true_centre(state: Tensor) -> Tensor:
    """The middle of the block's area from its pose `[N, 5]`: the pose is of the middle of its bar's
    outer edge, the area (a bar of 120 x 30 and a stem of 30 x 90) lies 45 further on."""
    angle = state[:, 4]
    return state[:, 2:4] + 45.0 * torch.stack([-angle.sin(), angle.cos()], 1)


def db(error: Tensor) -> list[float]:
    """PSNR of mean squared errors."""
    return (-10 * torch.log10(error)).tolist()


def quality(model: Any, windows: Windows, seed: int) -> dict[str, Any]:
    """PSNR at each step; the block's error at the last, and how far it was moved: the slope of
    imagined on true displacements."""
    generator = torch.Generator().manual_seed(seed)
    truth = windows.batch.obs["image"][:, OBSERVED : OBSERVED + HORIZON].float() / 255
    last = windows.batch.obs["image"][:, OBSERVED - 1].float() / 255
    shown = []
    for k in range(0, len(truth), 32):
        part = type(windows.batch)(
            {n: v[k : k + 32] for n, v in windows.batch.obs.items()},
            *(x[k : k + 32] for x in windows.batch[1:]),
        )
        found = predict(model, part, observed=OBSERVED, horizon=HORIZON, generator=generator)
        shown.append(found.obs["image"][0])
    imagined = torch.cat(shown)
    error = (imagined - truth).square().mean((0, 2, 3, 4))
    repeat = (last[:, None] - truth).square().mean((0, 2, 3, 4))
    there, seen, stale = (block_centre(x) for x in (truth[:, -1], imagined[:, -1], last))
    state = windows.batch.obs["state"][:, OBSERVED + HORIZON - 1]
    off = (there - true_centre(state)).norm(dim=1)
    way = there - stale
    return {
        "psnr": db(error),
        "repeat": db(repeat),
        "block error": float((seen - there).norm(dim=1).mean()),
        "block error of repeat": float((stale - there).norm(dim=1).mean()),
        "share of the block's way": float(((seen - stale) * way).sum() / way.square().sum()),
        "finder on true pictures, median": float(off.median()),
    }


def stability(model: Any, windows: Windows, frames: int = 200) -> dict[str, float]:
    """A rollout of many frames under actions of the data: does it stay a picture of PushT?

    Share of pixels far from all colours, and how much of the block is left, at the end against
    true pictures.
    """
    batch = windows.batch
    count = min(16, len(batch.action))
    obs = {"image": batch.obs["image"][:count, 0]}
    generator = torch.Generator().manual_seed(0)
    state = rollout.encode(model, obs, generator=generator)
    actions = batch.action[:count, 1:]
    for t in range(frames):
        action = actions[:, t % actions.shape[1]][:, None]
        state = model.step(state, action, model.noise(count, generator)).state
    end, true = model.decode(state)["image"], obs["image"].float() / 255

    def odd(image: Tensor) -> tuple[float, float]:
        away = (image[:, None] - COLOURS[None, :, :, None, None]).square().sum(2)
        block = torch.softmax(-away / 0.01, 1)[:, 1]
        return float((away.min(1).values > 0.03).float().mean()), float(
            (block > 0.5).float().mean()
        )

    return {
        "odd pixels": odd(end)[0],
        "odd pixels in truth": odd(true)[0],
        "block area": odd(end)[1],
        "block area in truth": odd(true)[1],
    }


def speed(model: Any, seconds: float = 4.0) -> float:
    """Frames a second of one robot, decoding included."""
    state = model.initial(1)
    action, noise = torch.zeros(1, 1, model.spec.action.size), model.noise(1)
    count, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds:
        state = model.step(state, action, noise).state
        model.decode(state)
        count += 1
    return count / (time.monotonic() - begun)


def main() -> None:
    """Measure one run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 32])
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one number of steps, fewer windows")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load(options.run)
    model, store = loaded.model, open_dataset(options.data)
    count = 64 if options.quick else options.windows
    windows = from_store(store, OBSERVED + HORIZON, count, seed=0)
    result: dict[str, Any] = {
        "trained": loaded.counters,
        "windows": len(windows.episode),
        **provenance(),
    }
    usual = model.config.flow.steps
    with torch.no_grad(), loaded.device.autocast():
        for steps in options.steps[:1] if options.quick else options.steps:
            model.denoise_in(steps)
            found = quality(model, windows, seed=0)
            result[f"{steps} steps"] = found
            told = {k: v for k, v in found.items() if isinstance(v, float)}
            lags = ", ".join(f"{k}: {found['psnr'][k - 1]:.2f}" for k in (1, 2, 4, 8, 16))
            print(f"{steps} steps: PSNR {lags}; {told}")
            if steps <= LONG:
                found["200 frames"] = stability(model, from_store(store, 100, 16, seed=1))
                print("   200 frames:", found["200 frames"])
            if steps == options.steps[0]:
                repeats = ", ".join(f"{k}: {found['repeat'][k - 1]:.2f}" for k in (1, 4, 16))
                print(f"   repeat {repeats}")
        model.denoise_in(usual)
        control = controllability(model, windows, observed=OBSERVED, horizon=8, seed=0).sensor(
            "image"
        )
        gap, ratio = control.gap_at(4), control.ratio["shuffled"].mean[3]
        result["gap at step 4 [dB]"], result["shuffle ratio at step 4"] = gap, ratio
        print(
            f"true minus random actions at step 4: {gap[0]:.2f} dB ({gap[1]:.2f} to {gap[2]:.2f}); "
            f"shuffle ratio {ratio:.2f}"
        )
        result["frames per second"] = {}
        for steps in options.steps[:1] if options.quick else options.steps:
            model.denoise_in(steps)
            result["frames per second"][steps] = speed(model)
        print("frames per second:", result["frames per second"])
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")
    assert math.isfinite(result[f"{options.steps[0]} steps"]["psnr"][0])


if __name__ == "__main__":
    main()
