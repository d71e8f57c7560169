"""What UniSim's choices are worth: variants that learn PushT for the same time, in turns.

    PYTHONPATH=. python bench/choices.py runs/pusht/train --held-out runs/pusht/held-out --out FILE

Each variant differs from the default in one thing: what is predicted (latents of a tokenizer that
is learnt along, in the same time), the network (the transformer; a U-Net that is smaller, or sees
coarser patches), a learning rate that does not fall (tell where it would: --updates), sequences
drawn by how much moves in them to a power (as --replay.motion), or how the action enters the
network, where

    default        every block is scaled and shifted by the action, and has maps of position
    shift          every block is shifted alone: the action is added
    no maps        scaled and shifted, without maps of position
    at the input   the action is added after the first layer and nowhere else

With --begin RUN all go on from what that run has learnt, with its settings.

Legend: `N` frames, `D` conditioning, `c h w` features.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.diamond_model import without_maps
from bench.equal_time import Trainee, race
from bench.pusht import speed
from reverie.data import EpisodeStore
from reverie.data.datasets import open_dataset
from reverie.eval.windows import from_store
from reverie.models.unisim import UniSimConfig
from reverie.models.unisim.config import UNetConfig
from reverie.models.unisim.unet import Residual, UNet
from reverie.recipes.run import load
from reverie.recipes.unisim import UniSimRecipe
from reverie.viz.provenance import provenance

# --------------------------------------------------------------------------- how the action enters


def shifted_alone(net: UNet) -> None:
    """s = 0 in (1 + s) h + b."""

    def shift(layer: nn.Module, given: Any, out: Tensor) -> Tensor:
        scale, shift = out.chunk(2, 1)
        return torch.cat([scale * 0, shift], 1)

    _modulate(net, shift)


def at_the_input(net: UNet) -> None:
    """h + W silu(c) after the first layer, and no modulation."""
    net.entry = nn.Linear(net.down[0][0].modulation.in_features, net.input.out_channels)

    def remember(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        net.told = F.silu(given[2])

    net.register_forward_pre_hook(remember)
    net.input.register_forward_hook(lambda *about: about[2] + net.entry(net.told)[..., None, None])
    _modulate(net, lambda *about: about[2] * 0)


def _modulate(net: UNet, hook: Callable[..., Tensor]) -> None:
    for block in net.modules():
        if isinstance(block, Residual):
            block.modulation.register_forward_hook(hook)


# --------------------------------------------------------------------------- variants


@dataclass(frozen=True)
class Variant:
    """The default with one change."""

    model: UniSimConfig
    change: Callable[[UNet], None] = lambda net: None
    """Made to the network before it learns."""
    motion: float = 0.0
    cooldown: float | None = None
    """None: as usual."""


def variants(usual: UniSimConfig) -> dict[str, Variant]:
    """By name, in the order in which they take turns."""
    latents = replace(usual.unet, channels=usual.unet.channels[-2:], patch=1)
    coarser = replace(usual.unet, channels=(96, 160), patch=4)
    return {
        "default": Variant(usual),
        "latents": Variant(replace(usual, space="latents", unet=latents)),
        "transformer": Variant(replace(usual, backbone="transformer")),
        "smaller": Variant(replace(usual, unet=replace(usual.unet, channels=(32, 64, 128)))),
        "coarser": Variant(replace(usual, unet=coarser)),
        "coarser, 64": Variant(replace(usual, unet=replace(coarser, channels=(64, 128)))),
        "coarser, 48": Variant(replace(usual, unet=replace(coarser, channels=(48, 96)))),
        "shift": Variant(usual, shifted_alone),
        "no maps": Variant(usual, without_maps),
        "at the input": Variant(usual, at_the_input),
        "constant rate": Variant(usual, cooldown=0.0),
        "motion": Variant(usual, motion=1.5),
    }


def chosen(options: argparse.Namespace) -> UniSimConfig:
    """What is changed, from the command line."""
    usual = UniSimConfig()
    unet = replace(usual.unet, channels=tuple(options.channels), patch=options.patch)
    return replace(usual, unet=unet, flow=replace(usual.flow, settle=options.settle))


def trainees(options: argparse.Namespace) -> dict[str, Trainee]:
    """The chosen variants on the pictures of a store."""
    store, begun = EpisodeStore.open(options.data), load(options.begin) if options.begin else None
    obs, dt = {"image": store.schema.obs["image"]}, float(store.meta["dt"])
    recipe = begun.recipe if begun else UniSimRecipe()
    usual = recipe.model if begun else chosen(options)
    device = replace(recipe.training.device, device="cpu", threads=options.threads)
    training = replace(recipe.training, seed=options.seed)
    found = {}
    for name, variant in variants(usual).items():
        if options.only and name not in options.only:
            continue
        each = replace(recipe, model=variant.model, training=training)
        learner = each.build(obs, store.schema.action, dt)
        if begun:
            learner.load_state_dict(begun.learner.state_dict())
        for denoiser in (learner.model.denoiser, learner.model.averaged):
            if denoiser.unet is not None:
                torch.manual_seed(options.seed)  # both are the same at first
                variant.change(denoiser.unet)
        learner.model.averaged.requires_grad_(False)
        optimiser, replay = training.optimiser, replace(recipe.replay, motion=variant.motion)
        if variant.cooldown is not None:
            optimiser = replace(optimiser, cooldown=variant.cooldown)
        found[name] = Trainee(learner, optimiser, device, store, replay, options.updates)
    return found


def main() -> None:
    """Train in turns; print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="a store of PushT to learn from")
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="names of variants; all without")
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, for each")
    parser.add_argument("--begin", type=Path, help="a run that all go on from")
    parser.add_argument("--updates", type=int, default=0, help="at most, for each; 0: any number")
    parser.add_argument("--turn", type=float, default=20.0, help="seconds of a turn")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--settle", type=int, default=3000, help="as --model.flow.settle")
    usual = UNetConfig()
    parser.add_argument(
        "--patch", type=int, default=usual.patch, help="of the U-Net that is changed"
    )
    parser.add_argument("--channels", type=int, nargs="+", default=usual.channels, help="of it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    known = variants(UniSimConfig())
    if unknown := [name for name in options.only or () if name not in known]:
        parser.error(f"--only has {unknown}; there are {', '.join(known)}")
    own = ("settle", "patch", "channels")
    if options.begin and any(getattr(options, n) != parser.get_default(n) for n in own):
        parser.error(f"--settle, --patch and --channels are those of {options.begin}; leave them.")
    windows = from_store(open_dataset(options.held_out), 20, options.windows, seed=0)
    subjects = trainees(options)
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items()}
    result: dict[str, Any] = {**provenance(), "settings": settings}
    for rows in race(subjects, windows, 60 * options.minutes, options.turn):
        result["learning"] = rows
        if options.out:
            options.out.write_text(json.dumps(result, indent=1) + "\n")
    for name, subject in subjects.items():
        with torch.no_grad(), subject.device.autocast():
            rate = speed(subject.model)
        result["learning"][name][-1]["frames per second"] = rate
        print(f"{name}: {rate:.1f} frames a second")
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
