"""A TD-MPC2 model as files, and to and from the names of the published checkpoints.

`save` and `load` are Reverie's own files (`reverie.nn.files`). `convert` and `export` map tensors
by name:

    published                          here                 |  of a layer    here
    _encoder.state.<i>                 encoder.vectors.layers.<i>    |  weight, bias  weight, bias
    _encoder.rgb.<2, 4, 6, 8>          encoder.cameras.<name>.convolutions.<0, 1, 2, 3>
    _dynamics.<i>                      dynamics.layers.<i>           |  ln.weight     gain
    _reward.<i>, _termination.<i>      reward..., termination.layers.<i>  |  ln.bias  shift
    _pi.<i>                            policy.net.layers.<i>
    _Qs.params.<i>                     q.layers.<i>         (_detach_Qs_params.<i> are copies)
    _target_Qs_params.<i>              target.layers.<i>
    _task_emb.weight                   embeddings

Checkpoints from before September 2024 number the parameters of an ensemble without their names,
`_Qs.params.<n>`, four to a layer in the order of the right column; both are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reverie.core.spec import Space
from reverie.data.serial import from_json, to_json
from reverie.models.tdmpc2.config import Task, TDMPC2Config
from reverie.models.tdmpc2.model import TDMPC2
from reverie.nn import files
from reverie.nn.files import WeightsError
from reverie.nn.state import misfit

FAMILY = "tdmpc2"

_PREFIXES = {
    "_encoder.state.": "encoder.vectors.layers.",
    "_dynamics.": "dynamics.layers.",
    "_reward.": "reward.layers.",
    "_termination.": "termination.layers.",
    "_pi.": "policy.net.layers.",
    "_Qs.params.": "q.layers.",
    "_target_Qs_params.": "target.layers.",
    "_target_Qs.params.": "target.layers.",  # before September 2024
}
_PARTS = {"weight": "weight", "bias": "bias", "ln.weight": "gain", "ln.bias": "shift"}
_NUMBERED = re.compile(r"(_Qs\.params\.|_target_Qs\.params\.)(\d+)")
_RANGE = "range"  # the published files leave it out
_SETTINGS = {"log_std_min", "log_std_dif", "_action_masks"}


def save(model: TDMPC2, directory: Path | str) -> Path:
    """Write a model into a new (or empty) directory.

    Raises:
        WeightsError: something is there already, or it cannot be written; nothing is overwritten.
    """
    about = {
        "config": to_json(model.config),
        "tasks": [asdict(task) for task in model.tasks],
        "spec": {
            "obs": {name: space.to_json() for name, space in model.spec.obs.items()},
            "action": model.spec.action.to_json(),
            "dt": model.spec.dt,
        },
    }
    return files.write(directory, FAMILY, about, model.state_dict())


def load(directory: Path | str) -> TDMPC2:
    """The model that `save` wrote, on the CPU, in the precision it was saved in.

    Raises:
        WeightsError: no model is there, it is of another family or format, a file is damaged, or
            names or shapes of its weights do not fit its configuration. The message says which.
    """
    about, tensors = files.read(directory, FAMILY)
    with files.damage(Path(directory) / "model.json"):
        config = from_json(TDMPC2Config, about["config"])
        tasks = [from_json(Task, task, "task") for task in about["tasks"]]
        spec = about["spec"]
        obs = {str(name): Space.from_json(space) for name, space in spec["obs"].items()}
        action, dt = Space.from_json(spec["action"]), float(spec["dt"])
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            model = TDMPC2(obs, action, dt, config, tasks)
    files.install(model, tensors, directory)
    return model


# -------------------------------------------------------------------------------------------------
# Published checkpoints


def convert(published: Mapping[str, Any], model: TDMPC2) -> dict[str, Tensor]:
    """What `model.load_state_dict` takes, from the tensors of a published checkpoint.

    `published` is its state dict, or the whole `{"model": state dict}`. The model says which names
    and shapes are expected, and gives what the file does not hold: the running range of values.

    Raises:
        WeightsError: names or shapes are not those of the model, or the file was made with other
            bounds of the deviation or other masks of actions. The message says which, by the names
            of the file.
    """
    inner = published.get("model", published)
    given = {name: x for name, x in inner.items() if isinstance(x, Tensor)}
    names, own = dict(_names(model)), model.state_dict()
    skipped = {name for name in given if name.startswith("_detach_Qs")}
    given = {_spelt(name): x for name, x in given.items() if name not in skipped}
    _require_settings(given, model)
    left = {k: x for k, x in given.items() if k not in _SETTINGS}
    wanted = {theirs: own[ours] for theirs, ours in names.items()}
    if problems := misfit(wanted, left):
        hint = ""
        if any(name.startswith("_termination") for name in left) and model.termination is None:
            hint = (
                " It has a termination head: use TDMPC2Config(episodic=True), or drop its tensors."
            )
        raise WeightsError(f"The checkpoint does not fit this model: {problems}.{hint}")
    found = {ours: left[theirs].to(own[ours].dtype) for theirs, ours in names.items()}
    return {**found, _RANGE: own[_RANGE].clone()}


def export(model: TDMPC2) -> dict[str, Tensor]:
    """The model's tensors under the published names, `_detach_Qs_params` and settings included.

    The published code keeps two entries that are no tensors beside each ensemble
    (`__batch_size`, `__device`); take them from a state dict of its own.
    """
    own = model.state_dict()
    out = {theirs: own[ours].clone() for theirs, ours in _names(model)}
    for name in [name for name in out if name.startswith("_Qs.params.")]:
        out[name.replace("_Qs.params.", "_detach_Qs_params.")] = out[name].clone()
    return {**out, **_settings(model)}


def _names(model: TDMPC2) -> Iterator[tuple[str, str]]:
    """Published name and name here of every tensor that both have."""
    cameras = list(model.encoder.cameras)
    if len(model.encoder.joins) or len(cameras) > 1:
        raise WeightsError(
            "Published checkpoints read vectors or one camera, not both; this model reads "
            f"{sorted(model.encoder.spaces)}."
        )
    back = {ours: theirs for theirs, ours in reversed(_PREFIXES.items())}
    parts = {ours: theirs for theirs, ours in _PARTS.items()}
    for name in model.state_dict():
        if name == "embeddings":
            yield "_task_emb.weight", name
        elif name.startswith("encoder.cameras."):
            _, _, layer, part = name.rsplit(".", 3)
            yield f"_encoder.rgb.{2 * int(layer) + 2}.{part}", name
        elif name != _RANGE:
            prefix, layer, part = name.rsplit(".", 2)
            yield f"{back[prefix + '.']}{layer}.{parts[part]}", name


def _spelt(name: str) -> str:
    """A published name in its newer spelling."""
    if numbered := _NUMBERED.fullmatch(name):
        layer, part = divmod(int(numbered[2]), len(_PARTS))
        name = f"{numbered[1]}{layer}.{list(_PARTS)[part]}"
    return name.replace("_target_Qs.params.", "_target_Qs_params.")


def _settings(model: TDMPC2) -> dict[str, Tensor]:
    """Constants that published checkpoints hold beside the weights."""
    low, high = model.config.policy.low, model.config.policy.high
    constants = {"log_std_min": torch.tensor(low), "log_std_dif": torch.tensor(high - low)}
    masks = {"_action_masks": model.masks.cpu().clone()} if model.tasks else {}
    return {**constants, **masks}


def _require_settings(given: Mapping[str, Tensor], model: TDMPC2) -> None:
    for name, expected in _settings(model).items():
        found = given.get(name)
        if found is not None and not torch.equal(found.cpu().float(), expected.float()):
            raise WeightsError(
                f"The checkpoint has {name} = {found.tolist()} and this model "
                f"{expected.tolist()}; make the model with the settings of the checkpoint."
            )
