"""A Dreamer model as files (`reverie.nn.files`): weights as safetensors, the rest as JSON.

Checkpoints of a run in progress, with optimiser and counters, are the learn room's; these files are
what a finished model is shared as.
"""

from __future__ import annotations

from pathlib import Path

import torch

from reverie.core.spec import Space
from reverie.data.serial import from_json, to_json
from reverie.models.dreamer.config import DreamerConfig
from reverie.models.dreamer.model import Dreamer
from reverie.nn import files
from reverie.nn.files import WeightsError

__all__ = ["FAMILY", "WeightsError", "load", "save"]

FAMILY = "dreamer"


def save(model: Dreamer, directory: Path | str) -> Path:
    """Write a model into a new (or empty) directory.

    Raises:
        WeightsError: something is there already, or it cannot be written; nothing is overwritten.
    """
    spec = {
        "obs": {name: space.to_json() for name, space in model.spec.obs.items()},
        "action": model.spec.action.to_json(),
        "dt": model.spec.dt,
    }
    about = {"config": to_json(model.config), "spec": spec}
    return files.write(directory, FAMILY, about, model.state_dict())


def load(directory: Path | str) -> Dreamer:
    """The model that `save` wrote, on the CPU, in the precision it was saved in.

    Raises:
        WeightsError: no model is there, it is of another family or format, a file is damaged, or
            names or shapes of its weights do not fit its configuration. The message says which.
    """
    about, tensors = files.read(directory, FAMILY)
    with files.damage(Path(directory) / "model.json"):
        config = from_json(DreamerConfig, about["config"])
        spec = about["spec"]
        obs = {str(name): Space.from_json(space) for name, space in spec["obs"].items()}
        action, dt = Space.from_json(spec["action"]), float(spec["dt"])
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            model = Dreamer(obs, action, dt, config)
    files.install(model, tensors, directory)
    return model
