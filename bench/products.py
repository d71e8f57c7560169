"""Matrix products of float32 by the two libraries that torch brings, in the same run.

    python bench/products.py --threads 1 --out bench/results/products.json

The shapes are those of one update of TD-MPC2 and Dreamer at size 1m: forward, and the two products
of the backward pass. Times are medians of rounds in turn; `ratio` is oneDNN's over BLAS's. The last
line is the softmax over groups of eight (SimNorm), ours over torch's own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reverie.nn import products
from reverie.nn.softmax import short_softmax
from reverie.viz.provenance import provenance

SHAPES = [(512, 134, 384), (512, 384, 384), (1024, 384, 384), (1024, 512, 64), (15360, 64, 255)]
"""Rows, inputs, outputs."""


def subjects(rows: int, inputs: int, outputs: int) -> dict[str, Callable[[], torch.Tensor]]:
    """A forward product and the two of its backward pass."""
    x, w, g = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(rows, outputs)
    return {
        "y = x W^T": lambda: products.product(x, w.t()),
        "dx = dy W": lambda: products.product(g, w),
        "dW = dy^T x": lambda: products.product(g.t(), x),
    }


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median time of one call."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def turns(calls: dict[str, Callable[[], Any]], rounds: int, repeats: int) -> dict[str, float]:
    """Median [us] of each, taking turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        seconds(call, 3)
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(1e6 * seconds(call, repeats))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = products.onednn()
    print(f"this machine multiplies through {'oneDNN' if chosen else 'BLAS'}")

    def by(library: bool, call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            products.onednn = lambda: library  # type: ignore[assignment]
            return call()

        return run

    rows: list[dict[str, Any]] = []
    for shape in SHAPES:
        for name, call in subjects(*shape).items():
            calls = {"blas": by(False, call), "onednn": by(True, call)}
            found = turns(calls, options.rounds, options.repeats)
            rows.append({"shape": shape, "product": name, **found})
    x = torch.randn(512, 16, 8)
    ways = {"torch": lambda: x.softmax(-1), "ours": lambda: short_softmax(x)}
    soft = turns(ways, options.rounds, options.repeats)
    for row in rows:
        row["ratio"] = row["onednn"] / row["blas"]
        n, i, o = row["shape"]
        speed = 2e-3 * n * i * o / row["onednn"]
        print(
            f"{n:6} x {i:3} -> {o:3}  {row['product']:12} BLAS {row['blas']:7.0f} us, oneDNN "
            f"{row['onednn']:7.0f} us ({speed:.0f} GFLOP/s), ratio {row['ratio']:.2f}"
        )
    soft["ratio"] = soft["ours"] / soft["torch"]
    print(
        f"softmax in eights: torch {soft['torch']:.0f} us, ours {soft['ours']:.0f} us, "
        f"ratio {soft['ratio']:.2f}"
    )
    if options.out:
        kept = {"threads": options.threads, "unit": "us", "chosen": chosen, **provenance()}
        options.out.write_text(json.dumps({**kept, "products": rows, "softmax": soft}, indent=1))


if __name__ == "__main__":
    main()
