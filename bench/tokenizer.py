"""How well do latents hold pictures, after how many minutes of learning, and how fast are they?

    python bench/tokenizer.py --data runs/pusht/train --held-out runs/pusht/held-out --minutes 6

Tokenizers of several sizes learn from recorded pictures on one thread in bfloat16. Minutes are
those of its processor, so a busy machine changes the table little. PSNR is of the mean squared
error over all held-out pictures; "moved" is after normal noise of a deviation of 0.3 is added to
normalised latents: how a decoder bears what a diffusion model gets wrong. "step" is the mean
squared change of normalised latents from one frame to the next, "extrapolated" the error of
z_t + (z_t - z_(t - 1)): smooth latents are predicted easily.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reverie.data.datasets import Dataset, open_dataset
from reverie.models.unisim.tokenizer import Tokenizer, TokenizerConfig
from reverie.viz.provenance import provenance

PICTURES, LONGEST = 4, 5
MARKS = (0.25, 0.5, 1.0)
WARMUP, EMA, DECAY = 50, 0.99, 0.4

SUBJECTS: dict[str, TokenizerConfig] = {
    "f4 c4": TokenizerConfig(factor=4, channels=4),
    "f8 c16": TokenizerConfig(factor=8, channels=16),
    "f8 c8": TokenizerConfig(factor=8, channels=8),
    "f8 c4": TokenizerConfig(factor=8, channels=4),
    "f4 c4 jitter 0": TokenizerConfig(factor=4, channels=4, jitter=0),
    "f8 c16 jitter 0": TokenizerConfig(factor=8, channels=16, jitter=0),
    "f8 c8 jitter 0": TokenizerConfig(factor=8, channels=8, jitter=0),
    "f8 c4 jitter 0": TokenizerConfig(factor=8, channels=4, jitter=0),
    "f8 c8 jitter 0.2": TokenizerConfig(factor=8, channels=8, jitter=0.2),
    "f8 c8 normal": TokenizerConfig(factor=8, channels=8, bottleneck="normal"),
    "f8 c8 normal 1e-7": TokenizerConfig(factor=8, channels=8, bottleneck="normal", kl=1e-7),
    "f8 c8 width 64": TokenizerConfig(factor=8, channels=8, width=64),
    "f8 c8 depth 2": TokenizerConfig(factor=8, channels=8, depth=2),
    "f8 c8 edge": TokenizerConfig(factor=8, channels=8, edge=0.02),
    "f8 c8 context 3": TokenizerConfig(factor=8, channels=8, context=3),
    "f8 c16 time 2": TokenizerConfig(factor=8, channels=16, context=3, time_factor=2),
}


def clips(
    dataset: Dataset, camera: str, count: int, frames: int, seed: int
) -> Callable[[], Tensor]:
    """Draws `count` clips of `frames` pictures, uint8 `[count, frames, C, h, w]`."""
    episodes = [episode for episode in dataset.episodes() if episode.rows >= frames]
    generator = np.random.default_rng(seed)

    def draw() -> Tensor:
        found = []
        for index in generator.integers(len(episodes), size=count):
            start = int(generator.integers(episodes[index].rows - frames + 1))
            rows = dataset.read(episodes[index].name, start, start + frames, [camera])
            found.append(torch.from_numpy(np.array(rows[camera])))
        return torch.stack(found)

    return draw


def half() -> torch.autocast:
    """Activations in bfloat16."""
    return torch.autocast("cpu", torch.bfloat16)


def learn(
    tokenizer: Tokenizer, data: Dataset, minutes: float, lr: float, judge: Callable
) -> tuple[Tokenizer, dict[str, Any]]:
    """Adam, its rate falling to zero at the end; what is judged is the mean of recent weights."""
    mean = copy.deepcopy(tokenizer).eval()
    optimiser = torch.optim.Adam(tokenizer.parameters(), lr, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(0)
    config = tokenizer.config
    frames = 1 if config.context == config.time_factor == 1 else LONGEST
    draw = clips(data, camera_of(data), -(-PICTURES // frames), frames, seed=0)
    marks, curve, updates, used, seen = list(MARKS), {}, 0, 0.0, 0
    while marks:
        begun = time.process_time()
        share = used / (60 * minutes)
        rate = min(1.0, (updates + 1) / WARMUP, (1 - share) / DECAY)
        optimiser.param_groups[0]["lr"] = lr * max(rate, 0.01)
        video = draw().float() / 255
        with half():
            losses, latents = tokenizer.loss(video, tokenizer.noise(*video.shape[:2], generator))
        total = torch.stack([w * losses[k].mean() for k, w in tokenizer.scales.items()]).sum()
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(tokenizer.parameters(), 1.0)
        optimiser.step()
        updates, seen = updates + 1, seen + video.shape[0] * video.shape[1]
        with torch.no_grad():
            old, new = list(mean.parameters()), list(tokenizer.parameters())
            torch._foreach_lerp_(old, new, max(1 - EMA, 1 / updates))
        mean.statistics.merge(latents.movedim(-3, -1))
        used += time.process_time() - begun
        if used >= 60 * minutes * marks[0]:
            found = judge(mean)
            curve[f"{minutes * marks.pop(0):g} min"] = found["psnr"]
            print(f"  {used / 60:.1f} min, {updates} updates: {found}", flush=True)
    facts = {"updates": updates, "frames/s": round(seen / used), "curve": curve}
    return mean, {**facts, **found}


def psnr(found: Tensor, video: Tensor) -> float:
    """Of the mean squared error [dB]."""
    return round(-10 * math.log10((found - video).square().mean().item()), 2)


@torch.no_grad()
def judged(tokenizer: Tokenizer, video: Tensor) -> dict[str, float]:
    """PSNR of held-out video, of the same with moved latents, and how smooth latents are."""
    generator = torch.Generator().manual_seed(1)
    with half():
        latents = torch.cat([tokenizer.encode(part) for part in video.split(16)])
        z = tokenizer.normalise(latents)
        moved = tokenizer.denormalise(z + 0.3 * torch.randn(z.shape, generator=generator))
        plain, after = (
            torch.cat([tokenizer.decode(part) for part in each.split(16)])
            for each in (latents, moved)
        )
    change = z.diff(dim=1)
    return {
        "psnr": psnr(plain, video),
        "moved": psnr(after, video),
        "worst frame": round(
            -10 * math.log10((plain - video).square().mean((-3, -2, -1)).max()), 2
        ),
        "step": round(change.square().mean().item(), 3),
        "extrapolated": round(change.diff(dim=1).square().mean().item(), 3),
    }


@torch.no_grad()
def speed(tokenizer: Tokenizer, video: Tensor) -> dict[str, float]:
    """Frames per second of one processor, 36 at once, and milliseconds of one frame alone."""
    batch, one = video[:4], video[:1, :1]
    found = {}
    with half():
        z, z_one = tokenizer.encode(batch), tokenizer.encode(one)
        calls: dict[str, Callable[[], Any]] = {
            "encode": lambda: tokenizer.encode(batch),
            "decode": lambda: tokenizer.decode(z),
            "encode one": lambda: tokenizer.encode_next(one),
            "decode one": lambda: tokenizer.decode_next(z_one),
        }
        for name, call in calls.items():
            times = []
            for _ in range(12):
                begun = time.process_time()
                call()
                times.append(time.process_time() - begun)
            least = min(times[2:])
            whole = name in {"encode", "decode"}
            found[f"{name} {'frames/s' if whole else '[ms]'}"] = round(
                36 / least if whole else 1e3 * least, 2
            )
    return found


def camera_of(dataset: Dataset) -> str:
    """The first picture among what was sensed."""
    return next(name for name, space in dataset.obs.items() if len(space.shape) == 3)


def keep(out: Path, about: dict[str, Any], label: str, row: dict[str, Any]) -> None:
    """Add a row to those that earlier runs left."""
    results = json.loads(out.read_text())["results"] if out.exists() else {}
    result = {**about, **provenance(), "results": {**results, label: row}}
    out.write_text(json.dumps(result, indent=1) + "\n")


def main() -> None:
    """Learn, judge, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="recorded episodes to learn from")
    parser.add_argument("--held-out", type=Path, required=True, help="others, to be judged on")
    parser.add_argument("--minutes", type=float, default=6.0, help="of a processor, for each")
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS)[:3])
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--out", type=Path, default=Path("bench/results/tokenizer.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, held_out = open_dataset(options.data), open_dataset(options.held_out)
    camera = camera_of(data)
    shape = data.obs[camera].shape
    video = clips(held_out, camera, 64, 9, seed=1)().float() / 255
    rows: dict[str, dict[str, Any]] = {}
    for name in options.subjects:
        torch.manual_seed(0)
        tokenizer = Tokenizer((shape[0], shape[1], shape[2]), SUBJECTS[name])
        count = sum(p.numel() for p in tokenizer.parameters())
        print(f"{name}: {count:,} parameters, latents {tokenizer.latent_shape}", flush=True)
        label = f"{name}, {options.minutes:g} min"
        mean, rows[label] = learn(
            tokenizer, data, options.minutes, options.lr, lambda mean: judged(mean, video)
        )
        rows[label].update(speed(mean, video), parameters=count)
        keep(options.out, {"data": str(options.data), "lr": options.lr}, label, rows[label])
    for label, row in rows.items():
        print(label, *(f"{k}={v}" for k, v in row.items()), sep="  ")


if __name__ == "__main__":
    main()
