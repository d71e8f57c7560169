"""A learner small enough for tests, with everything that a resume must bring back: a slow copy, a
normaliser, stored latents, noise in acting and in learning. As a program it trains itself, and is
killed at random moments until it is done."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reverie.data import EpisodeStore, ReplayConfig
from reverie.envs import EnvConfig
from reverie.envs.parallel import parallel
from reverie.learn.device import DeviceConfig
from reverie.learn.directory import RunDirectory
from reverie.learn.learner import Update, latent_spaces
from reverie.learn.log import LogConfig
from reverie.learn.optim import LaProp, OptimiserConfig
from reverie.learn.run import (
    CheckpointConfig,
    EvaluateConfig,
    PrefillConfig,
    Result,
    RunConfig,
    train,
)

WIDTH = 16


class Memory(NamedTuple):
    hidden: Tensor
    action: Tensor


class TinyAgent:
    def __init__(self, learner):
        self.learner = learner

    def begin(self, batch, obs=None):
        return Memory(torch.zeros(batch, WIDTH), torch.zeros(batch, self.learner.actions))

    def act(self, memory, obs, first, generator=None):
        keep = ~first[:, None]
        hidden = self.learner.read(memory.hidden * keep, memory.action * keep, obs)
        action = torch.tanh(self.learner.actor(hidden))
        if generator is not None:
            noise = torch.randn(action.shape, generator=generator)
            action = (action + 0.3 * noise).clamp(-1, 1)
        return action, Memory(hidden, action)


class TinyLearner(nn.Module):
    """h_t = GRU(h_{t-1}, [o_t, a_{t-1}]) predicts reward; the actor climbs what it predicts."""

    def __init__(self, obs, action):
        super().__init__()
        self.names = sorted(obs)
        self.actions = action.size
        size = sum(space.size for space in obs.values())
        self.cell = nn.GRUCell(size + self.actions, WIDTH)
        self.head = nn.Linear(WIDTH + self.actions, size + 1)
        self.actor = nn.Linear(WIDTH, self.actions)
        self.slow = nn.Linear(WIDTH, self.actions).requires_grad_(False)
        self.register_buffer("scale", torch.ones(()))
        self.spoil_at = None
        self.seen = 0

    @property
    def agent(self):
        return TinyAgent(self)

    def read(self, hidden, action, obs):
        x = torch.cat([*(obs[name].flatten(1) for name in self.names), action], -1)
        return self.cell(x, hidden)

    def update(self, batch, state, generator):
        hidden = state["hidden"] if state else torch.zeros(len(batch.first), WIDTH)
        hiddens = []
        for t in range(batch.first.shape[1]):
            keep = ~batch.first[:, t, None]
            obs = {name: value[:, t] for name, value in batch.obs.items()}
            hidden = self.read(hidden * keep, batch.action[:, t] * keep, obs)
            hiddens.append(hidden)
        h = torch.stack(hiddens, 1)
        target = torch.cat([*(batch.obs[n] for n in self.names), batch.reward[..., None]], -1)
        guess = self.head(torch.cat([h[:, :-1], batch.action[:, 1:]], -1))
        fixed = h.detach()
        noise = 0.1 * torch.randn(*fixed.shape[:2], self.actions, generator=generator)
        action = torch.tanh(self.actor(fixed)) + noise
        hope = self.head(torch.cat([fixed, action], -1))[..., -1]
        self.scale.lerp_(hope.detach().std(), 0.1)
        losses = {
            "predict": (guess - target[:, 1:]).square() * ~batch.first[:, 1:, None],
            "act": -hope / self.scale.clamp(min=0.1),
            "stay": (torch.tanh(self.slow(fixed)) - action).square(),
        }
        self.seen += 1
        if self.spoil_at == self.seen:
            losses["act"] = losses["act"] * float("nan")
        scales = {"predict": 1.0, "act": 0.1, "stay": 0.01}
        return Update(losses, scales, {"hidden": fixed}, {"scale": self.scale})

    def after_update(self):
        for slow, fast in zip(self.slow.parameters(), self.actor.parameters(), strict=True):
            slow.data.lerp_(fast.data, 0.05)

    def latent(self, memory):
        return {"hidden": memory.hidden}


class Quiet(NamedTuple):
    """What a small run needs, and what tests vary."""

    frames: int = 800
    updates: int = 0
    every: int = 1
    decisions: int = 50
    seconds: float = 60.0
    evaluate: int = 0
    workers: int = 0
    progress: str = "off"
    prefill: int = 60
    catch_up: bool = False
    context: int = 1


ENV = EnvConfig("toy:pendulum", repeat=2, max_decisions=25)


def config(quiet, **changes):
    values = {
        "seed": 3,
        "frames": quiet.frames,
        "updates": quiet.updates,
        "train_ratio": 20.0,
        "prefill": PrefillConfig(quiet.prefill, quiet.catch_up),
        "evaluate": EvaluateConfig(quiet.evaluate, episodes=3),
        "checkpoint": CheckpointConfig(quiet.seconds, quiet.decisions),
        "log": LogConfig(quiet.every, progress=quiet.progress, seconds=1.0),
        "optimiser": OptimiserConfig(lr=1e-2, warmup=10),
        "device": DeviceConfig(device="cpu", threads=1),
    }
    return RunConfig(**{**values, **changes})


def learner_for(envs):
    torch.manual_seed(0)
    return TinyLearner(envs.obs, envs.action)


def tiny_run(path, quiet, *, env=ENV, count=2, prepare=None, **changes) -> Result:
    """Train a tiny learner in a run directory, or go on."""
    with (
        RunDirectory(path) as place,
        parallel(env, count, seed=7, workers=quiet.workers) as envs,
        EpisodeStore(place.episodes, envs.obs, envs.action) as store,
    ):
        learner = learner_for(envs)
        replay = ReplayConfig(batch=4, length=8, context=quiet.context).build(
            store, seed=5, latent=latent_spaces(learner)
        )
        if prepare is not None:
            prepare(learner, envs, replay)
        return train(
            learner,
            replay,
            config(quiet, **changes),
            place,
            family="tiny",
            envs=envs,
            evaluation=(lambda: parallel(env, 2, seed=99)) if quiet.evaluate else None,
            recipe={"width": WIDTH},
        )


def survive(path: Path, quiet: Quiet, seed: int, share: float) -> int:
    """Run in a process of its own that is killed after up to `share` of the processor time that a
    whole run takes (and a tenth longer with every kill), until it is done; how often it was killed.
    Processor time, so that a busy machine kills at the same places as a quiet one."""
    chance = random.Random(seed)
    LaProp([nn.Parameter(torch.zeros(1))], OptimiserConfig())  # imports what torch imports late
    _, spent = _live(path.with_name("timed"), quiet, 0.0)
    for kills in range(1000):
        done, _ = _live(path, quiet, chance.uniform(0.0, share * spent * 1.1**kills))
        if done:
            return kills
    raise SystemExit("the run never came to its end")


def _live(path: Path, quiet: Quiet, seconds: float) -> tuple[bool, float]:
    """Whether a run came to its end within so many seconds of processor time (0: any), and what it
    spent. It dies of the default action of SIGPROF: at once, like SIGKILL, and nothing runs."""
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            tiny_run(path, quiet)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF:
        return False, usage.ru_utime + usage.ru_stime
    if status:
        raise SystemExit(1)
    return True, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=800)
    parser.add_argument("--kills", type=int, default=-1, help="seed of the kills")
    parser.add_argument("--share", type=float, default=0.5, help="of a whole run, to the first")
    parser.add_argument("--progress", default="off")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    quiet = Quiet(given.frames, progress=given.progress, seconds=given.seconds, evaluate=150)
    if given.kills >= 0:
        print(survive(given.run, quiet, given.kills, given.share))
    else:
        tiny_run(given.run, quiet)


if __name__ == "__main__":
    main()
