"""DIAMOND beside UniSim: the time of a training step, and pictures at equal time.

    python bench/diamond.py --check
    python bench/diamond.py --peer PYTHON --out FILE
    python bench/diamond.py --quality runs/pusht/train --held-out runs/pusht/held-out --minutes 20

Steps: PYTHON has simulusion 1.1.0, gymnasium and torch. Its denoiser and ours at DIAMOND's size
(four levels of 64, two blocks, pixels not patches, four frames, conditions of 256; ours with levels
of 72 below the first, so that a pass has as many multiply-adds), 64 x 64 pictures, the same number
of predicted frames, Adam, one thread. Subjects take turns, each in a process of its own.

Quality: DIAMOND's settings (Alonso et al. 2024: EDM preconditioning, offset noise, three Euler
steps, batch 32, learning rate 1e-4, its four frames and four actions) on our U-Net of its size,
without maps of position, against UniSim as it is trained by default. They learn in turns on the
same data, equally long; PSNR of held-out windows is taken on the way. Our U-Net has 1.9 G
multiply-adds a frame in these settings; DIAMOND's own, with a third block on the way up and more
frames joined, 3.0 G. Adam is without its weight decay.

Legend: `B` batch, `T` rows, `K` frames looked back to, `N` frames, `C h w` image, `A` action.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.diamond_model import FRAMES, WIDTH, Diamond, at_size, check
from bench.equal_time import LAGS, Trainee, acts_not, race
from bench.pusht import speed
from bench.subject import run
from reverie.core import tree
from reverie.core.model import Batch
from reverie.core.spec import Space
from reverie.data import EpisodeStore, ReplayConfig
from reverie.data.datasets import open_dataset
from reverie.eval.windows import from_store
from reverie.learn.device import DeviceConfig, multiplies_bfloat16, settle
from reverie.learn.fit import Fitter
from reverie.learn.optim import OptimiserConfig
from reverie.models.unisim import UniSim, UniSimConfig
from reverie.plan.learner import PlanningLearner
from reverie.recipes.unisim import UniSimRecipe
from reverie.viz.provenance import provenance

CHOICES = 18
"""Actions of DIAMOND in Atari."""
EQUAL = (64, 72, 72, 72)
"""Channels with which ours has as many multiply-adds as simulusion's network."""

PEER = """
import json, sys, time, types
import torch
from gymnasium.spaces import Discrete
from simulusion.configs.diamond_config import DiamondConfig
from simulusion.training.precision import MixedPrecision
from simulusion.training.train_diamond import DiamondAgent
from torch.utils.flop_counter import FlopCounterMode
rows, repeats, threads = (int(word) for word in sys.argv[1:4])
torch.set_num_threads(threads)
torch.manual_seed(0)
env = types.SimpleNamespace(action_space=Discrete(18))
agent = DiamondAgent(DiamondConfig(device="cpu"), env=env)
agent.set_precision(MixedPrecision(sys.argv[4], "cpu"))
batch = {"obs_seq": torch.rand(rows, 4, 3, 64, 64) * 2 - 1,
         "next_obs": torch.rand(rows, 3, 64, 64) * 2 - 1,
         "action_seq": torch.randint(18, (rows, 4))}
net = agent.diffusion_model
with FlopCounterMode(display=False) as counter, torch.no_grad():
    net(batch["next_obs"][:1], torch.zeros(1), batch["obs_seq"][:1], batch["action_seq"][:1])
times = []
for _ in range(repeats + 2):
    begun = time.perf_counter(), time.process_time()
    agent._update_diffusion_model(batch)
    ended = time.perf_counter(), time.process_time()
    times.append([(b - a) * 1e3 for a, b in zip(begun, ended)])
print(json.dumps({"ms": times[2:], "parameters": sum(p.numel() for p in net.parameters()),
                  "multiply-adds": counter.get_total_flops() / 2}))
"""


def adam(warmup: int, clip: float, lr: float = 1e-4) -> OptimiserConfig:
    """That of DIAMOND, without its weight decay of 1e-2 times the learning rate."""
    return OptimiserConfig(
        kind="adam", lr=lr, warmup=warmup, beta2=0.999, eps=1e-8, agc=0.0, clip=clip
    )


# --------------------------------------------------------------------------- the time of a step


def ours(rows: int, repeats: int, threads: int, kind: str) -> dict[str, Any]:
    """Times [ms] of our update; `kind` is a precision, or "default": UniSim as it is."""
    usual, precision = kind == "default", "auto" if kind == "default" else kind
    config = DeviceConfig(device="cpu", precision=precision, threads=threads)  # type: ignore[arg-type]
    device = settle(config)
    torch.manual_seed(0)
    obs = {"image": Space((3, 64, 64), "uint8", 0, 255)}
    model = UniSim(
        obs, Space((CHOICES,), discrete=True), 0.1, UniSimConfig() if usual else at_size(EQUAL)
    )
    learner = PlanningLearner(model, acts_not, stores=False)
    fitter = Fitter(learner, adam(warmup=0, clip=float(usual)), device)
    generator = torch.Generator().manual_seed(0)
    known, none = model.config.frames, torch.zeros(rows, 1, dtype=torch.bool)
    pixels = torch.randint(256, (rows, 1, 3, 64, 64), generator=generator, dtype=torch.uint8)
    action = torch.eye(CHOICES)[torch.randint(CHOICES, (rows, 1), generator=generator)]
    batch = Batch({"image": pixels}, action, torch.zeros(rows, 1), none, none, none)
    past = torch.rand(rows, known, 3, 64, 64, generator=generator) * 2 - 1
    age = torch.full((rows,), known)
    state = tree.named(model.initial(rows)._replace(frames=past, age=age))
    net = model.denoiser.unet
    assert net is not None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(past[:1, 0], past[:1], torch.zeros(1, WIDTH))
    times = []
    for _ in range(repeats + 2):
        begun = time.perf_counter(), time.process_time()
        fitter.fit(batch, state, generator)
        ended = time.perf_counter(), time.process_time()
        times.append([(b - a) * 1e3 for a, b in zip(begun, ended, strict=True)])
    count = sum(p.numel() for p in model.denoiser.parameters())
    return {"ms": times[2:], "parameters": count, "multiply-adds": counter.get_total_flops() / 2}


def steps(options: argparse.Namespace) -> dict[str, Any]:
    """Times in turns, and the ratio of theirs to ours."""
    sizes = [str(options.rows), str(options.repeats), str(options.threads)]
    theirs, own = [options.peer, "-c", PEER, *sizes], [sys.executable, __file__, "--alone", *sizes]
    kinds = ["float32", *["bfloat16"] * multiplies_bfloat16("cpu")]
    subjects = {"reverie, default": [*own, "default"]}
    for kind, short in zip(kinds, ("fp32", "bf16"), strict=False):
        subjects[f"simulusion, {kind}"] = [*theirs, short]
        subjects[f"reverie, {kind}"] = [*own, kind]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in subjects}
    for _ in range(options.rounds):
        for name, command in subjects.items():
            found[name].append(run(command))
    result = {}
    for name, turns in found.items():
        each = [list(map(statistics.median, zip(*turn.pop("ms"), strict=True))) for turn in turns]
        clock, busy = map(statistics.median, zip(*each, strict=True))
        result[name] = {"ms": clock, "cpu ms": busy, "of each turn": each, **turns[0]}
        count, work = turns[0]["parameters"], turns[0]["multiply-adds"]
        print(
            f"{name:20} {clock:8.0f} ms, {busy:8.0f} ms of the processor; {count / 1e6:.2f} M "
            f"weights, {work / 1e9:.3f} G multiply-adds a frame"
        )
    pairs = [*((kind, kind) for kind in kinds), *((kind, "float32") for kind in kinds[1:])]
    for kind, other in pairs:
        pair = result[f"simulusion, {other}"], result[f"reverie, {kind}"]
        rows = zip(*(x["of each turn"] for x in pair), strict=True)
        shares = [[a / b for a, b in zip(*row, strict=True)] for row in rows]
        clock, busy = map(statistics.median, zip(*shares, strict=True))
        pair[1][f"simulusion {other} over this"] = {"time": clock, "processor": busy}
        low, high = min(x[0] for x in shares), max(x[0] for x in shares)
        print(
            f"simulusion {other} over reverie {kind}: {clock:.2f} ({low:.2f} to {high:.2f}), "
            f"of the processor's time {busy:.2f}"
        )
    return result


# --------------------------------------------------------------------------- quality


def trainees(options: argparse.Namespace) -> dict[str, Trainee]:
    """DIAMOND's settings and ours on the pictures of one store."""
    store = EpisodeStore.open(options.quality)
    obs, action = {"image": store.schema.obs["image"]}, store.schema.action
    dt, recipe = float(store.meta["dt"]), UniSimRecipe()
    ours = recipe.build(obs, action, dt)
    torch.manual_seed(0)
    theirs = PlanningLearner(Diamond(obs, action, dt), acts_not, stores=False)
    rows = ReplayConfig(batch=32, length=FRAMES + 1, context=0, online=False)
    device = replace(recipe.training.device, device="cpu", threads=options.threads)
    published = replace(device, precision=options.precision)
    return {
        "diamond": Trainee(theirs, adam(100, 1.0, options.lr), published, store, rows),
        "unisim": Trainee(ours, recipe.training.optimiser, device, store, recipe.replay),
    }


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Trains both in turns; PSNR at each mark, speed at the end."""
    subjects = trainees(options)
    windows = from_store(open_dataset(options.held_out), 20, options.windows, seed=0)
    length, result = 60 * options.minutes, dict[str, Any]()
    for rows in race(subjects, windows, length, options.turn):
        result.update(rows)
    repeat = result["unisim"][-1]["repeat"]
    print("repeat the last frame:", ", ".join(f"{lag}: {v:.2f}" for lag, v in repeat.items()))
    diamond = subjects["diamond"].model
    diamond.steps = 1
    result["diamond in one step"] = subjects["diamond"].judged(windows)
    diamond.steps = 3
    print("diamond in one step:", result["diamond in one step"]["psnr"])
    for lag in map(str, LAGS):
        aim = result["diamond"][-1]["psnr"][lag]
        first = [row["seconds"] for row in result["unisim"] if row["psnr"][lag] >= aim]
        share = f"after {first[0] / length:.2f} of the time" if first else "not"
        print(f"unisim is as good as diamond in the end at lag {lag}: {share}")
    for name, subject in subjects.items():
        with torch.no_grad(), subject.device.autocast():
            result[f"{name}, frames per second"] = rate = speed(subject.model, 4.0)
        print(f"{name}: {rate:.1f} frames a second")
    return result


def main() -> None:
    """Check, time or train; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="the equations against closed forms")
    parser.add_argument("--peer", default="", help="a Python with simulusion 1.1.0")
    parser.add_argument("--rows", type=int, default=16, help="frames predicted in a step")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quality", type=Path, help="a store of PushT to learn from")
    parser.add_argument("--held-out", type=Path, default=Path("runs/pusht/held-out"))
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, for each")
    parser.add_argument(
        "--turn", type=float, default=20.0, help="seconds that one learns at a time"
    )
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-4, help="of DIAMOND's settings")
    parser.add_argument("--precision", default="auto", help="of DIAMOND's settings")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alone", nargs=4, help="ours alone, as JSON (for itself)")
    options = parser.parse_args()
    if options.alone:
        rows, repeats, threads = map(int, options.alone[:3])
        print(json.dumps(ours(rows, repeats, threads, options.alone[3])))
        return
    if not (options.check or options.peer or options.quality):
        parser.error("give --check, --peer PYTHON or --quality DATA")
    asked = ("rows", "rounds", "repeats", "threads", "minutes", "windows", "lr", "precision")
    result: dict[str, Any] = {**provenance(), **{name: getattr(options, name) for name in asked}}
    if options.check:
        check()
    if options.peer:
        result["steps"] = steps(options)
    if options.quality:
        torch.set_num_threads(options.threads)
        result["quality"] = compare(options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
