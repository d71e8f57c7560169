"""The transformer over video, beside the matrix products of the same machine in the same run.

    python bench/spacetime.py --threads 1 --out bench/results/spacetime.json

Frames a second of a training pass and of reading, and the time of a step with a cache, at the
default size with 8 x 8 tokens; `share` is the share of the rate of one large product that the
linear layers and the attention of the pass would need. Below it the choices made in there: torch's
fused attention against plain products, and a cache that is moved against a ring.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.nn import products
from reverie.nn.attention import Past, attend, by_products
from reverie.nn.spacetime import SpaceTime, SpaceTimeConfig
from reverie.viz.provenance import provenance

GRID = (8, 8)
SHAPES = [("space", 128, 4, 64, 64), ("space", 128, 8, 64, 32), ("time", 16, 256, 16, 64)]
"""Name, N, G, L, d."""


def turns(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median time [ms] of each, taking turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            found[name].append(1e3 * (time.perf_counter() - begun))
    return {name: statistics.median(values) for name, values in found.items()}


def autocast(half: bool) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where `half`."""
    return torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext()


def work(net: SpaceTime, frames: int, seen: int) -> float:
    """Floating-point operations of reading `frames` frames that see `seen` frames each."""
    config, tokens = net.config, net.tokens + net.config.registers
    looks = config.depth // config.time_every
    layers = config.depth + (looks if config.layout == "factorised" else 0)
    weights = 4 * layers * config.width**2 + 3 * config.depth * config.width * config.inner
    pairs = (config.depth - looks) * tokens
    joint = config.layout == "joint"
    pairs += looks * (seen * tokens if joint else tokens + seen)
    return frames * tokens * (2.0 * weights + 4.0 * pairs * config.width)


def passes(net: SpaceTime, rows: int, frames: int, half: bool) -> dict[str, Callable[[], Any]]:
    """Reading, training, and one frame with a full cache."""
    x = torch.randn(rows, frames, net.tokens, net.config.width)
    c = torch.randn(rows, frames, net.config.width)
    with autocast(half), torch.no_grad():
        cache = net.append(net.empty_cache(rows), net(x, c)[1])

    def read() -> None:
        with torch.no_grad(), autocast(half):
            net(x, c)

    def train() -> None:
        with autocast(half):
            loss = net(x, c)[0].square().mean()
        loss.backward()

    def step() -> None:
        with torch.no_grad(), autocast(half):
            net(x[:, :1], c[:, :1], cache)

    def push() -> None:
        with torch.no_grad(), autocast(half):
            net.append(cache, net(x[:, :1], c[:, :1], cache)[1])

    return {"read": read, "train": train, "step": step, "step and keep": push}


def peak(half: bool) -> Callable[[], Any]:
    """2^31 operations in one product."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    if half:
        a, b = a.bfloat16(), b.bfloat16()
        return lambda: a @ b
    return lambda: products.product(a, b)


def networks(layout: str, rows: int, rounds: int) -> list[dict[str, Any]]:
    """The default size in both precisions."""
    config = SpaceTimeConfig(layout=layout)  # type: ignore[arg-type]
    net = SpaceTime(config, GRID, 0, config.width)
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    frames = config.window or 16
    found = []
    for half in (False, True):
        times = turns({**passes(net, rows, frames, half), "peak": peak(half)}, rounds)
        rate = 2.0**31 / times.pop("peak")
        for name, spent in times.items():
            count = rows * (1 if name.startswith("step") else frames)
            seen = frames if name.startswith("step") else (frames + 1) // 2
            needs = work(net, count, seen) * (3 if name == "train" else 1)
            share = needs / spent / rate
            row = {"layout": layout, "half": half, "pass": name, "rows": rows, "ms": spent}
            found.append({**row, "frames_per_second": 1e3 * count / spent, "share": share})
            print(
                f"{layout:10} {'bfloat16' if half else 'float32':8} {name:13} {spent:8.1f} ms, "
                f"{1e3 * count / spent:7.0f} frames/s, {share:.0%} of {rate / 1e6:.0f} GFLOP/s"
            )
    return found


def attention(rounds: int) -> list[dict[str, Any]]:
    """torch's fused kernel against plain products."""
    found = []
    for name, n, g, length, d in SHAPES:
        for half in (False, True):
            kind = torch.bfloat16 if half else torch.float32
            q, k, v = (torch.randn(n, length, g, d, dtype=kind) for _ in range(3))
            mask = torch.zeros(length, length, dtype=kind)
            mask = mask.masked_fill(torch.ones_like(mask).triu(1) > 0, float("-inf"))
            hidden = mask if name == "time" else None
            inputs = [x.requires_grad_() for x in (q, k, v)]

            def fused(parts: list[Tensor] = inputs, hidden: Tensor | None = hidden) -> Tensor:
                a, b, c = (x.transpose(1, 2) for x in parts)
                return F.scaled_dot_product_attention(a, b, c, attn_mask=hidden, scale=1.0)

            def plain(parts: list[Tensor] = inputs, hidden: Tensor | None = hidden) -> Tensor:
                a, b, c = (x.transpose(1, 2) for x in parts)
                return by_products(a, b, c, hidden, None)

            times = turns(
                {
                    "fused": torch.no_grad()(fused),
                    "plain": torch.no_grad()(plain),
                    "fused, back": lambda f=fused: f().sum().backward(),
                    "plain, back": lambda f=plain: f().sum().backward(),
                },
                rounds,
            )
            ratio = times["plain"] / times["fused"]
            back = times["plain, back"] / times["fused, back"]
            shape = {"attention": name, "shape": [n, g, length, d], "half": half}
            found.append({**shape, **times, "ratio": ratio, "ratio_back": back})
            print(
                f"{name:5} {n} x {g} x {length} x {d} {'bfloat16' if half else 'float32':8} plain "
                f"over fused {ratio:.2f}, with the backward pass {back:.2f}"
            )
    return found


def caches(rounds: int) -> dict[str, float]:
    """What is kept: moved or a ring; read in two parts or laid beside the new."""
    found: dict[str, float] = {}
    for kind in (torch.float32, torch.bfloat16):
        kept = torch.randn(8, 256, 15, 64).to(kind)
        new = torch.randn(8, 256, 1, 64).to(kind)
        rows, slots = torch.arange(8), torch.randint(15, (8,))
        past = Past(kept, kept, torch.zeros(1, 1, 1, 15, dtype=kind))

        def ring(kept: Tensor = kept, new: Tensor = new) -> Tensor:
            copy = kept.clone()
            copy[rows, :, slots] = new[:, :, 0]  # noqa: B023
            return copy

        def beside(kept: Tensor = kept, new: Tensor = new) -> Tensor:
            whole = torch.cat([kept, new], 2)
            return F.scaled_dot_product_attention(new, whole, whole, scale=1.0)

        calls: dict[str, Callable[[], Any]] = {
            "move": lambda kept=kept, new=new: torch.cat([kept[:, :, 1:], new], 2),
            "ring": ring,
            "two parts": lambda new=new, past=past: attend(new, new, new, None, past),
            "beside": beside,
        }
        times = turns(calls, 10 * rounds)
        name = str(kind).removeprefix("torch.")
        found[f"ring over move, {name}"] = times["ring"] / times["move"]
        found[f"beside over two parts, {name}"] = times["beside"] / times["two parts"]
    for name, ratio in found.items():
        print(f"{name}: {ratio:.2f}")
    return found


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    runs = [
        row
        for layout in ("factorised", "joint")
        for row in networks(layout, options.rows, options.rounds)
    ]
    kept = {
        "threads": options.threads,
        **provenance(),
        "passes": runs,
        "attention": attention(options.rounds),
        "cache": caches(options.rounds),
    }
    if options.out:
        options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
