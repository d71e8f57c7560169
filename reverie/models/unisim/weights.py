"""A UniSim model as files: weights as safetensors, everything else as JSON; nothing is unpickled.

Both copies of the denoiser are kept, the one that learns and the averaged one, so that a model that
was loaded learns on as if it had never left memory.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from reverie.core.spec import Space
from reverie.data.serial import from_json, to_json
from reverie.models.unisim.config import UniSimConfig
from reverie.models.unisim.model import UniSim
from reverie.nn import files
from reverie.nn.conditions import Part
from reverie.nn.files import WeightsError

__all__ = ["FAMILY", "WeightsError", "load", "save"]

FAMILY = "unisim"


def save(model: UniSim, directory: Path | str) -> Path:
    """Write a model into a new (or empty) directory.

    Raises:
        WeightsError: something is there already, or it cannot be written; nothing is overwritten.
    """
    sensed = {**model.spec.obs, **model.spec.context}
    about = {
        "config": to_json(model.config),
        "parts": [asdict(part) for part in model.parts],
        "spec": {
            "obs": {name: space.to_json() for name, space in sensed.items()},
            "action": model.spec.action.to_json(),
            "dt": model.spec.dt,
        },
    }
    return files.write(directory, FAMILY, about, model.state_dict())


def load(directory: Path | str) -> UniSim:
    """The model that `save` wrote, on the CPU, in the precision it was saved in.

    Raises:
        WeightsError: no model is there, it is of another family or format, a file is damaged, or
            names or shapes of its weights do not fit its configuration. The message says which.
    """
    about, tensors = files.read(directory, FAMILY)
    with files.damage(Path(directory) / "model.json"):
        config = from_json(UniSimConfig, about["config"])
        parts = tuple(from_json(Part, part, "part") for part in about["parts"])
        spec = about["spec"]
        obs = {str(name): Space.from_json(space) for name, space in spec["obs"].items()}
        action, dt = Space.from_json(spec["action"]), float(spec["dt"])
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            model = UniSim(obs, action, dt, config, parts)
    files.install(model, tensors, directory)
    return model
