"""The posterior over a sequence and its gradient: written by hand beside autograd's loop.

    python bench/unroll.py

Size 1m, walker, B16 x T64, float32, one thread: forward and backward, in turn, processor time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from walker import ACTION, DT, OBS

from reverie.models.dreamer import Dreamer, sized


def loop(model: Dreamer, action: Tensor, embedding: Tensor, first: Tensor, noise: Tensor) -> Tensor:
    """One `observe` after the other, as autograd sees it."""
    state = model.initial(first.shape[0])
    total = torch.zeros(())
    for t in range(first.shape[1]):
        state, posterior = model.rssm.observe(
            state, action[:, t], embedding[:, t], first[:, t], noise[t]
        )
        total = total + state.deter.sum() + posterior.square().sum()
    return total


def by_hand(
    model: Dreamer, action: Tensor, embedding: Tensor, first: Tensor, noise: Tensor
) -> Tensor:
    """The whole sequence at once."""
    states, posterior = model.rssm.observe_all(
        model.initial(first.shape[0]), action, embedding, first, noise
    )
    return states.deter.sum() + posterior.square().sum()


def seconds(run: Callable[..., Tensor], model: Dreamer, *arguments: Tensor) -> float:
    """Processor time of one forward and backward pass."""
    begun = time.process_time()
    run(model, *arguments).backward()
    return time.process_time() - begun


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Dreamer(OBS, ACTION, DT, sized("1m"))
    batch, length = 16, 64
    arguments = (
        torch.rand(batch, length, 6) * 2 - 1,
        torch.randn(batch, length, model.encoder.size),
        torch.zeros(batch, length, dtype=torch.bool),
        torch.rand(length, batch, 32),
    )
    times: dict[str, list[float]] = {"autograd's loop": [], "by hand": []}
    for _ in range(rounds + 1):
        times["autograd's loop"].append(seconds(loop, model, *arguments))
        times["by hand"].append(seconds(by_hand, model, *arguments))
    print(f"{'':18}{'median ms':>10}{'min ms':>10}")
    for name, values in times.items():
        kept = [1e3 * v for v in values[1:]]
        print(f"{name:18}{statistics.median(kept):10.1f}{min(kept):10.1f}")
    slow, fast = (statistics.median(v[1:]) for v in times.values())
    print(f"by hand / loop: {fast / slow:.2f}")


if __name__ == "__main__":
    main()
