"""Policies judged inside a world model, against the truth: PushT's pusher, from good to random.

    python bench/policies.py runs/pusht/unisim --data runs/pusht/held-out --out FILE.json

The scripted pusher reads states, which a model of pictures does not show. So it acts in the true
simulator, from recorded states at rest, with a share of random actions from 0 to 1 and with weaker
and later actions (`reverie.eval.graded`): its actions are a plan for each start. What a plan earns
in the model, from the picture of its start, is compared with what it earned really: by policy
(`reverie.eval.ranking`), and plan by plan, also among the plans of one start alone.

Legend: `G` policies, `N` starts, `B = G N` rows, `H` decisions, `A` action.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from goals import PushT, Table
from torch import Tensor

from reverie.core import rollout
from reverie.data.datasets import open_dataset
from reverie.envs.scripts import Scripted
from reverie.eval.graded import Graded, grades
from reverie.eval.interval import bootstrap
from reverie.eval.ranking import ranking
from reverie.recipes.run import load
from reverie.viz.provenance import provenance


def starts(place: Path, world: PushT, count: int, seed: int) -> Tensor:
    """Physics `[N, 10]` at rest, one row of each of so many recorded episodes."""
    dataset, rng = open_dataset(place), np.random.default_rng(seed)
    listed = list(dataset.episodes())
    if len(listed) < count:
        raise SystemExit(f"{place} has {len(listed)} episodes; ask for fewer than {count} starts.")
    found = []
    for index in rng.permutation(len(listed))[:count].tolist():
        at = int(rng.integers(listed[index].rows // 2))
        found.append(dataset.read(listed[index].name, at, at + 1, only=["state"])["state"][0])
    return world.at_rest(torch.from_numpy(np.stack(found)).double())


def really(
    world: PushT, agent: Graded, begun: Tensor, decisions: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Actions `[H, B, A]` of the policies, and what they earned `[B]`: the covered share of the
    goal, summed; nothing follows a success. And whether each succeeded."""
    state, memory = Table(begun), agent.begin(len(begun))
    taken, earned = [], torch.zeros(len(begun))
    over = torch.zeros(len(begun), dtype=torch.bool)
    for k in range(decisions):
        seen = {"state": state.physics[:, [0, 1, 4, 5, 6]].float()}
        action, memory = agent.act(memory, seen, torch.full((len(begun),), k == 0))
        state = world.step(state, action[:, None], ()).state
        covered = world.covered(state.physics)
        earned += covered.clamp(max=1.0) * ~over
        over |= covered > 1
        taken.append(action)
    return torch.stack(taken), earned, over


def inside(loaded: Any, picture: Tensor, plan: Tensor, at_once: int, seed: int) -> Tensor:
    """What plans `[H, B, A]` earn in the model from pictures `[B, 3, h, w]`; a start has the same
    noise under every policy where `at_once` is a multiple of the number of starts."""
    model, device, found = loaded.model, loaded.device, []
    for rows in torch.arange(plan.shape[1]).split(at_once):
        generator = device.generator(seed)
        with torch.no_grad(), device.autocast():
            obs = device.put({"image": picture[rows]})
            state = rollout.encode(model, obs, generator=generator)
            noise = rollout.draw(model, len(plan), len(rows), generator)
            actions = device.put(plan[:, rows].unsqueeze(2))
            ahead = rollout.imagine(model, state, actions, noise, keep="last").transition
        going = torch.ones_like(ahead.reward)
        if ahead.continues is not None:
            going[1:] = ahead.continues[:-1].cumprod(0)
        found.append((ahead.reward * going).sum(0).float().cpu())
    return torch.cat(found)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; NaN where all of one are equal."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(places(one), places(other))[0, 1])


def places(values: np.ndarray) -> np.ndarray:
    """Ranks; equal values share the middle one."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return middle


def main() -> None:
    """Act, imagine, compare, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--starts", type=int, default=24)
    parser.add_argument("--shares", type=int, default=17, help="shares of random actions, 0 to 1")
    parser.add_argument("--decisions", type=int, default=40)
    parser.add_argument("--hold", type=int, default=5, help="decisions a random action is held")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun, loaded, world = time.perf_counter(), load(options.run), PushT()
    spoiled = grades(options.shares, hold=options.hold)
    names, count = [g.name for g in spoiled], options.starts
    here = starts(options.data, world, count, options.seed)
    script = Scripted("gym:gym_pusht/PushT-v0", {"state": None})
    agent = Graded(script, world.spec.action, spoiled, options.seed)
    plan, earned, over = really(world, agent, here.repeat(len(names), 1), options.decisions)
    picture = world.picture(here).repeat(len(names), 1, 1, 1)
    dreamt = inside(loaded, picture, plan, count, options.seed)
    real, imagined = (x.reshape(-1, count).double().numpy() for x in (earned, dreamt))
    found = ranking(
        dict(zip(names, imagined.tolist(), strict=True)),
        dict(zip(names, real.tolist(), strict=True)),
        paired=True,
        seed=options.seed,
    )
    within = np.array([alike(imagined[:, k], real[:, k]) for k in range(count)])
    within = within[np.isfinite(within)]  # a start from which every plan earns nothing tells none
    low, high = bootstrap(within)
    plans = {
        "spearman of all plans": alike(imagined.ravel(), real.ravel()),
        "spearman within a start": [float(within.mean()), float(low), float(high)],
        "pearson of all plans": float(np.corrcoef(imagined.ravel(), real.ravel())[0, 1]),
        "successes": int(over.sum()),
    }
    for score in found.policies:
        print(
            f"{score.name:24s} imagined {score.imagined.value:6.2f}  real {score.real.value:6.2f}"
        )
    for name in ("pearson", "spearman", "kendall", "mmrv", "bias", "slope", "regret"):
        e = getattr(found, name)
        print(f"{name:10s} {e.value:6.3f}  {e.low:6.3f} to {e.high:6.3f}")
    print(f"p {found.p_ranks:.5f}: {found.verdict}", *found.warnings, plans, sep="\n")
    if options.out:
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
        about = {"settings": settings, "counters": loaded.counters, "plans": plans}
        about["seconds"] = round(time.perf_counter() - begun, 1)
        kept = {**about, **provenance(), "ranking": found.to_json()}
        options.out.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main()
