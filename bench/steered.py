"""Does a video model do what it is told: by an instruction in words, by the motion of a camera?

    bash bench/steered.sh        # records toy:tabletop and toy:room, and trains on each
    python bench/steered.py --text runs/tabletop/unisim --camera runs/room/unisim --out FILE.json

Text: from one first picture two instructions are imagined, with the robot's action left out. What
was carried out is read off the imagined pictures by colours (`envs.instructions.told`), which knows
nothing of the model. Camera: from one first picture two paths are imagined, and each imagined film
is held to the true films of both (`envs.room.taken`). A trial is one imagined film; chance is 50 %.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reverie.core import rollout
from reverie.envs import make
from reverie.envs.instructions import INSTRUCTIONS, told, written
from reverie.envs.room import filmed, taken, wander
from reverie.recipes.run import Loaded, load
from reverie.viz.provenance import provenance

FRAMES = {"text": 30, "camera": 16}


def imagine(loaded: Loaded, obs: dict[str, torch.Tensor], actions: torch.Tensor) -> np.ndarray:
    """Films `[N, T + 1, 3, h, w]` in 0..255 from first pictures and actions `[T, N, A]`."""
    model, generator = loaded.model, torch.Generator().manual_seed(0)
    with torch.no_grad(), loaded.device.autocast():
        state = rollout.encode(model, obs, generator=generator)
        shown = [model.decode(state)["image"]]
        for action in actions:
            noise = model.noise(len(action), generator)
            state = model.step(state, action[:, None], noise).state
            shown.append(model.decode(state)["image"])
    return (torch.stack(shown, 1).clamp(0, 1) * 255).round().byte().numpy()


def by_text(loaded: Loaded, trials: int) -> dict[str, Any]:
    """The share of films in which what was told is what is seen, of two instructions."""
    env = make("toy:tabletop", pixels=True)
    simulator: Any = env.simulator  # type: ignore[attr-defined]
    random = np.random.default_rng(0)
    pictures, texts, pairs = [], [], []
    for k in range(trials):
        one, two = random.choice(len(INSTRUCTIONS), 2, replace=False).tolist()
        pair = INSTRUCTIONS[one], INSTRUCTIONS[two]
        for text in pair:
            simulator.instruct(text)
            pictures.append(env.reset(2_000_000 + k).obs["image"])
            texts.append(written(text))
            pairs.append(pair)
    obs = {
        "image": torch.from_numpy(np.stack(pictures)),
        "text": torch.from_numpy(np.stack(texts)),
    }
    silent = torch.full((FRAMES["text"], len(texts), env.action.size), math.nan)
    films = imagine(loaded, obs, silent)
    right = [told(film, pairs[k]) == k % 2 for k, film in enumerate(films)]
    kinds = {}
    for word in ("go", "push"):
        asked = [pairs[k][k % 2].startswith(word) for k in range(len(films))]
        if any(asked):
            found = float(np.mean(np.array(right)[asked]))
            kinds[f"told to {word}"] = {"films": sum(asked), "right": found}
    return {"films": films, **share(right), **kinds}


def by_camera(loaded: Loaded, trials: int) -> dict[str, Any]:
    """The share of films nearer to the true film of their own path than to that of the other."""
    pictures, paths, true = [], [], []
    for k in range(trials):
        seed = 2_000_000 + k
        for begun in (2 * k, 2 * k + 1):
            path = np.stack([wander(begun, age) for age in range(FRAMES["camera"])])
            film = filmed(seed, path)
            paths.append(path)
            true.append(film)
            pictures.append(film[0])
    actions = torch.from_numpy(np.stack(paths, 1))
    films = imagine(loaded, {"image": torch.from_numpy(np.stack(pictures))}, actions)
    right = []
    for k, film in enumerate(films):
        pair = true[k - k % 2], true[k - k % 2 + 1]
        right.append(taken(film[1:], [each[1:] for each in pair]) == k % 2)
    return {"films": films, **share(right)}


def share(right: list[bool]) -> dict[str, Any]:
    """Of right choices; and of starts from which both were right."""
    both = np.asarray(right).reshape(-1, 2).all(1)
    return {"trials": len(right), "right": float(np.mean(right)), "both right": float(both.mean())}


def main() -> None:
    """Measure one or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path)
    parser.add_argument("--camera", type=Path)
    parser.add_argument("--trials", type=int, default=50, help="starts; two films from each")
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of a frame")
    parser.add_argument("--guidance", type=float, default=1.0, help="w of what is told")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--films", type=Path, help="write the imagined films there, as npy")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result: dict[str, Any] = {**provenance()}
    for name, measure in (("text", by_text), ("camera", by_camera)):
        run = getattr(options, name)
        if run is None:
            continue
        loaded = load(run)
        usual = loaded.model.config
        flow = replace(usual.flow, steps=options.steps, guidance=options.guidance)
        loaded.model.config = replace(usual, flow=flow)
        found = measure(loaded, options.trials)
        films = found.pop("films")
        if options.films:
            np.save(options.films / f"{name}.npy", films[:8])
        settings = {"steps": options.steps, "guidance": options.guidance}
        result[name] = {**found, **settings, "trained": loaded.counters}
        print(f"{name}: {found}")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
