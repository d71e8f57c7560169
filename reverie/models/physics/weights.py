"""What a physics model has learnt, as a file: the factors of its knobs.

    <directory>/
        model.json            format, family, fingerprint of the world, config
        factors.safetensors   theta, by knob

The world itself is code or a scenario, and is built anew; a file of another world is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch

from reverie.core import tree
from reverie.data.container import write_json
from reverie.data.serial import to_json
from reverie.models.physics.model import Physics

FORMAT = 1
FAMILY = "physics"
_ABOUT, _FACTORS = "model.json", "factors.safetensors"


class WeightsError(RuntimeError):
    """A physics model's file cannot be written, read, or used."""


def fingerprint(model: Physics) -> str:
    """SHA-256 of all numbers of the world: how it begins, what it is made of, how it is stepped."""
    world = model.world
    digest = hashlib.sha256(repr((world.dt, world.ticks, world.substeps, world.shapes)).encode())
    parts = [
        world.initial(1),
        world.robot.params if world.robot else (),
        world.matter.params if world.matter else (),
        world.cloth.params if world.cloth else (),
        world.liquid.params if world.liquid else (),
        world.hands.start if world.hands else (),
        world.obstacles[1] if world.obstacles else (),
    ]
    for name, x in tree.named(tuple(parts)).items():
        digest.update(name.encode())
        digest.update(x.detach().cpu().to(torch.float64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(model: Physics, directory: Path | str) -> Path:
    """Write what a model has learnt into a new (or empty) directory.

    Raises:
        WeightsError: something is there already, or it cannot be written; nothing is overwritten.
    """
    from safetensors.torch import save_file

    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise WeightsError(
            f"{directory} is not empty; give a new directory, nothing is overwritten."
        )
    about = {
        "format": FORMAT,
        "family": FAMILY,
        "world": fingerprint(model),
        "config": to_json(model.config),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        factors = {name: x.detach().cpu() for name, x in model.factors.items()}
        save_file(factors, directory / _FACTORS)
        write_json(directory / _ABOUT, about)
    except OSError as error:
        raise WeightsError(f"The model could not be written to {directory}: {error}.") from error
    return directory


def load(directory: Path | str, model: Physics) -> Physics:
    """Fill a model of the same world with the factors that `save` wrote.

    Raises:
        WeightsError: no physics model is there, or it is of another world or other knobs.
    """
    from safetensors.torch import load_file

    path = Path(directory) / _ABOUT
    if not path.is_file():
        raise WeightsError(f"No model is in {directory}: {_ABOUT} is missing.")
    try:
        about = dict(json.loads(path.read_text()))
        family, found, world = about["family"], about["format"], about["world"]
        factors = load_file(Path(directory) / _FACTORS)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise WeightsError(f"{directory} is damaged: {error!r}.") from error
    if (family, found) != (FAMILY, FORMAT):
        raise WeightsError(
            f"{path} is of family {family!r} and format {found}, not of {FAMILY!r} and {FORMAT}."
        )
    if world != fingerprint(model):
        raise WeightsError(
            f"{directory} was learnt in another world; build the model from the world it was saved "
            "with."
        )
    if factors.keys() != dict(model.factors).keys():
        raise WeightsError(
            f"{directory} holds factors of {sorted(factors)}; this model learns "
            f"{sorted(model.factors)}."
        )
    with torch.no_grad():
        for name, x in factors.items():
            model.factors[name].copy_(x)
    return model
