"""Published TD-MPC2 networks against Reverie's with the same weights: every head and loss, to 1e-5.

    python bench/tdmpc2_weights.py CHECKOUT [--sizes 1 5]

CHECKOUT is a clone of https://github.com/nicklashansen/tdmpc2 (commit e9f5932) in which "cuda:0" is
replaced by "cpu". Needs its tensordict (0.8.3) and omegaconf. Builds each network with random
weights, converts them, and prints the largest difference of every output, loss and gradient norm,
divided by max(1, |value|); exits 1 if one is above 1e-5, or if the names that `export` gives back
do not carry the same numbers. Losses are those of one published update with learning rate 0, so
that its policy meets the same Q functions, and with the same draws and no dropout.
"""

from __future__ import annotations

import argparse
import os
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reverie.core.model import Batch
from reverie.core.spec import Space
from reverie.models.tdmpc2 import (
    TDMPC2,
    NetConfig,
    Task,
    TDMPC2Config,
    TDMPC2State,
    TrainingNoise,
    discount,
    sized,
)
from reverie.models.tdmpc2.critic import number
from reverie.models.tdmpc2.weights import convert, export

BATCH, LIMIT = 64, 1e-5
ACTIONS, VECTOR, PICTURE = 6, 24, 64
USED, LENGTHS = [6, 4, 2], [500, 25, 2000]


def settings(size: int, several: bool, episodic: bool, pixels: bool) -> Any:
    """The published configuration as the network reads it."""
    from common import MODEL_SIZE
    from omegaconf import OmegaConf

    written = OmegaConf.load("config.yaml")
    values = {k: written[k] for k in written if not OmegaConf.is_missing(written, k)}
    values |= MODEL_SIZE[size] | {
        "obs": "rgb" if pixels else "state",
        "obs_shape": {"rgb": (9, PICTURE, PICTURE)} if pixels else {"state": (VECTOR,)},
        "action_dim": ACTIONS,
        "multitask": several,
        "tasks": ["a", "b", "c"] if several else ["a"],
        "action_dims": USED,
        "task_dim": 96 if several else 0,
        "bin_size": 0.2,
        "episodic": episodic,
    }
    return types.SimpleNamespace(**values)


def published(size: int, several: bool, episodic: bool, pixels: bool) -> Any:
    """The published network, every weight moved from its special initial value."""
    from common import layers
    from common.world_model import WorldModel

    layers.enc.__defaults__[0].clear()  # else it keeps the encoders of the network before
    net = WorldModel(settings(size, several, episodic, pixels)).eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.requires_grad and "target" not in name and "detach" not in name:
                p.add_(0.05 * torch.randn_like(p))
        for p in net._target_Qs_params.values(True, True):
            if isinstance(p, Tensor):
                p.add_(0.05 * torch.randn_like(p))
    return net


def ours(size: int, several: bool, episodic: bool, pixels: bool) -> TDMPC2:
    """Reverie's model of the same shape."""
    obs = {"camera": Space((3, PICTURE, PICTURE), "uint8")} if pixels else {"x": Space((VECTOR,))}
    config = sized(f"{size}m", TDMPC2Config(net=NetConfig(), episodic=episodic))
    lengths = zip(USED, LENGTHS, strict=True)
    tasks = [Task(str(n), n, discount(length)) for n, length in lengths] if several else []
    return TDMPC2(obs, Space((ACTIONS,), low=-1.0, high=1.0), 0.05, config, tasks)


class Fixed:
    """Stands in for the published code's draws: one eps, one pair."""

    def __init__(self, eps: Tensor, pair: Tensor) -> None:
        self.eps, self.pair = eps, pair

    def __enter__(self) -> None:
        self.kept = torch.randn_like, torch.randperm
        torch.randn_like = lambda *_, **__: self.eps  # type: ignore[assignment]
        torch.randperm = lambda *_, **__: self.pair  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        torch.randn_like, torch.randperm = self.kept


@torch.no_grad()
def differences(theirs: Any, model: TDMPC2, several: bool, pixels: bool) -> dict[str, float]:
    """The largest absolute difference of every output."""
    cfg, heads = theirs.cfg, theirs.cfg.num_q
    task = torch.randint(3, (BATCH,)) if several else None
    action = torch.rand(BATCH, ACTIONS) * 2 - 1
    if several:
        action = action * model.masks[task]
    eps, pair = torch.randn(BATCH, ACTIONS), torch.randperm(heads)
    state = model.initial(BATCH, None if task is None else {"task": task})
    if pixels:
        stack = torch.randint(256, (BATCH, 9, PICTURE, PICTURE), dtype=torch.uint8)
        camera = theirs._encoder["rgb"]
        z = camera[1:](stack.float())  # the first layer shifts at random, while acting too
        mine = model.encoder({}, {"camera": stack})
    else:
        x = torch.randn(BATCH, VECTOR)
        z = theirs.encode(x, task)
        mine = model.encoder({"x": x}, {}, model.embedded(state))
    state = TDMPC2State(z, state.task, state.frames)
    step, features = model.step(state, action[:, None], ()), model.features(state)
    policy = model.policy(features)
    from common import math

    pairs = {"encode": (mine, z), "next": (step.state.z, theirs.next(z, action, task))}
    reward = theirs.reward(z, action, task)
    embedding = list(model.task_parts(state)[:1])
    x = torch.cat([z, *embedding, action], -1)
    pairs["reward logits"] = (model.reward(x), reward)
    pairs["reward"] = (step.reward, math.two_hot_inv(reward, cfg)[:, 0])
    if model.termination is not None and not several:  # refused there with several tasks
        ends = theirs.termination(step.state.z, task)[:, 0]
        pairs["continues"] = (step.continues, 1 - ends)
    with Fixed(eps, pair):
        sampled, info = theirs.pi(z, task)
        average = theirs.Q(z, action, task, return_type="avg")[:, 0]
        least = theirs.Q(z, action, task, return_type="min", target=True)[:, 0]
    pairs["pi action"] = (policy.sample(eps), sampled)
    pairs["pi mean"] = (policy.mode(), info["mean"])
    pairs["pi log_std"] = (policy.log_std, info["log_std"])
    entropy = info["scaled_entropy"][:, 0] / ACTIONS  # a difference of sums of up to 60
    pairs["pi entropy"] = (policy.scaled_entropy(eps) / ACTIONS, entropy)
    every = theirs.Q(z, action, task, return_type="all")
    pairs["Q all"] = (model.q(x), every)
    pairs["Q avg"] = (model.critic.pair(features, action, pair[:2]).mean(0), average)
    slow = model.target.some([x], pair[:2])
    pairs["target Q min"] = (number(slow, model.bins).amin(0), least)
    return {name: apart(a, b) for name, (a, b) in pairs.items()}


def apart(one: Tensor, two: Tensor) -> float:
    """max |a - b| / max(1, |b|)."""
    return float(((one - two).detach().abs() / two.abs().clamp_min(1)).max())


class Drawn:
    """Stands in for the published draws inside an update: eps by row count, heads 0 and 1."""

    def __init__(self, eps: dict[int, Tensor]) -> None:
        self.eps = eps

    def __enter__(self) -> None:
        self.kept = torch.randn_like, torch.randperm
        torch.randn_like = lambda x, **_: self.eps[len(x)].clone()  # type: ignore[assignment]
        torch.randperm = lambda n, **_: torch.arange(n)  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        torch.randn_like, torch.randperm = self.kept


def update_differences(size: int, several: bool, episodic: bool) -> dict[str, float]:
    """Losses and gradient norms of one published update against those of `loss`."""
    import tdmpc2 as published_code
    from common import layers

    layers.enc.__defaults__[0].clear()
    cfg = settings(size, several, episodic, pixels=False)
    extra = {"lr": 0.0, "dropout": 0.0, "compile": False, "episode_length": 500}
    cfg.__dict__.update(extra, batch_size=BATCH, episode_lengths=LENGTHS)
    cfg.get = lambda name, default=None: getattr(cfg, name, default)
    agent = published_code.TDMPC2(cfg)
    theirs = agent.model
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if p.requires_grad and "target" not in name and "detach" not in name:
                p.add_(0.05 * torch.randn_like(p))
    model = ours(size, several, episodic, pixels=False)
    model.load_state_dict(convert({"model": theirs.state_dict()}, model))
    steps, task = cfg.horizon, torch.randint(3, (BATCH,)) if several else None
    obs = torch.randn(steps + 1, BATCH, VECTOR)
    action = torch.rand(steps, BATCH, ACTIONS) * 2 - 1
    action = action * model.masks[task] if several else action
    reward = 3 * torch.randn(steps, BATCH, 1)
    ended = (torch.rand(steps, BATCH, 1) < 0.2 * episodic).float()
    eps = {n: torch.randn(n, BATCH, ACTIONS) for n in (steps, steps + 1)}
    with Drawn(eps):
        info = agent._update(obs, action, reward, ended, *([task] if several else []))
    none = torch.zeros(BATCH, 1)
    batch = Batch(
        {"x": obs.transpose(0, 1)},
        torch.cat([none[..., None].expand(-1, -1, ACTIONS), action.transpose(0, 1)], 1),
        torch.cat([none, reward[..., 0].T], 1),
        torch.zeros(BATCH, steps + 1, dtype=torch.bool),
        torch.zeros(BATCH, steps + 1, dtype=torch.bool),
        torch.cat([none, ended[..., 0].T], 1).bool(),
    )
    pair = torch.arange(2)
    found = model.loss(
        batch,
        model.initial(BATCH, None if task is None else {"task": task}),
        TrainingNoise(eps[steps], eps[steps + 1], pair, pair),
    ).losses
    means = {name: x.mean() for name, x in found.items()}
    total = sum(model.scales[name] * x for name, x in means.items() if name != "policy")
    apart_from = {"policy": "pi_loss"}
    result = {
        f"loss {name}": apart(x, info[apart_from.get(name, f"{name}_loss")])
        for name, x in means.items()
    }
    for name, value in (("grad_norm", total), ("pi_grad_norm", means["policy"])):
        model.zero_grad()
        value.backward(retain_graph=True)
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        result[name] = apart(torch.stack(torch._foreach_norm(grads)).norm(), info[name])
    model.after_update()
    result["range of Q"] = apart(model.range, info["pi_scale"])
    return result


def roundtrip(theirs: Any, model: TDMPC2) -> bool:
    """Whether `export` gives every tensor of the published state dict back."""
    back, given = export(model), theirs.state_dict()
    tensors = {k: x for k, x in given.items() if isinstance(x, Tensor)}
    theirs.load_state_dict({**given, **back})
    return back.keys() == tensors.keys() and all(torch.equal(back[k], tensors[k]) for k in back)


def main() -> int:
    """Print one line per output and network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 5, 19])
    arguments = parser.parse_args()
    code = arguments.checkout.resolve() / "tdmpc2"
    sys.path.insert(0, str(code))
    os.chdir(code)  # its configuration is read from there
    torch.manual_seed(0)
    worst, whole = 0.0, True
    cases = [(size, False, True, False) for size in arguments.sizes]
    cases += [(1, True, True, False), (5, False, False, True)]
    for size, several, episodic, pixels in cases:
        theirs, model = (f(size, several, episodic, pixels) for f in (published, ours))
        model.load_state_dict(convert({"model": theirs.state_dict()}, model))
        learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
        kind = "several tasks" if several else "one task"
        kind += ", pixels" if pixels else ", state"
        print(f"{size}m, {kind}: {learnt:,} parameters, published {theirs.total_params:,}")
        whole &= learnt == theirs.total_params and roundtrip(theirs, model)
        for name, difference in differences(theirs, model, several, pixels).items():
            print(f"  {name:24s} {difference:.2e}")
            worst = max(worst, difference)
    for case in [*((size, False, True) for size in arguments.sizes), (1, True, False)]:
        print(f"{case[0]}m, {'several tasks' if case[1] else 'one task'}: an update")
        for name, difference in update_differences(*case).items():
            print(f"  {name:24s} {difference:.2e}")
            worst = max(worst, difference)
    good = whole and worst <= LIMIT
    print(f"largest difference {worst:.2e}, names and counts {'equal' if whole else 'DIFFER'}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
