"""An oracle as a file. It has no weights: what it knows is the simulator, so the file names that.

    <directory>/
        model.json            format, family, config, fingerprint of the simulator

Loading builds the simulator anew, and refuses one with another fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from reverie.data.container import write_json
from reverie.data.serial import from_json, to_json
from reverie.envs import EnvConfig, make
from reverie.envs.adapter import Adapter
from reverie.models.oracle.config import OracleConfig
from reverie.models.oracle.model import Oracle

FORMAT = 1
FAMILY = "oracle"
_ABOUT = "model.json"
_PACKAGES = {"dmc": "dm_control", "gym": "gymnasium"}


class WeightsError(RuntimeError):
    """An oracle's file cannot be written, read, or used."""


def fingerprint(config: EnvConfig) -> dict[str, Any]:
    """Which simulator this is, as JSON, for the report of a plan.

    "model" is the SHA-256 of the compiled MuJoCo model (MJB) at the beginning of the episode of
    seed 0; "fields" are those that the state holds beside MuJoCo's own; the versions are those of
    the packages whose code makes the step and the reward.
    """
    import mujoco

    env = make(config, pixels=False, with_state=False, camera="", max_decisions=0, physics=True)
    assert isinstance(env, Adapter) and env.physics is not None
    try:
        env.reset(0)
        model = env.physics.inside.model
        compiled = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
        mujoco.mj_saveModel(model, None, compiled)
        family = config.name.partition(":")[0]
        names = ["mujoco", *([_PACKAGES[family]] if family in _PACKAGES else [])]
        return {
            "env": config.name,
            "repeat": config.repeat,
            "dt": env.dt,
            "model": hashlib.sha256(compiled.tobytes()).hexdigest(),
            "fields": env.physics.fields,
            "size": env.physics.size,
            "versions": {name: version(name) for name in names},
        }
    finally:
        env.close()


def save(model: Oracle, directory: Path | str) -> Path:
    """Write which simulator an oracle is into a new (or empty) directory.

    Raises:
        WeightsError: something is there already, or it cannot be written; nothing is overwritten.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise WeightsError(
            f"{directory} is not empty; give a new directory, nothing is overwritten."
        )
    about = {
        "format": FORMAT,
        "family": FAMILY,
        "config": to_json(model.config),
        "simulator": fingerprint(model.config.env),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / _ABOUT, about)
    except OSError as error:
        raise WeightsError(f"The oracle could not be written to {directory}: {error}.") from error
    return directory


def load(directory: Path | str) -> Oracle:
    """The oracle that `save` wrote.

    Raises:
        WeightsError: no oracle is there, or the simulator installed here is another.
    """
    path = Path(directory) / _ABOUT
    if not path.is_file():
        raise WeightsError(f"No model is in {directory}: {_ABOUT} is missing.")
    try:
        about = dict(json.loads(path.read_text()))
        family, found, was = about["family"], about["format"], dict(about["simulator"])
        config = from_json(OracleConfig, about["config"]) if family == FAMILY else None
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: {error!r}.") from error
    if config is None or found != FORMAT:
        raise WeightsError(
            f"{path} is of family {family!r} and format {found}, not of {FAMILY!r} and {FORMAT}; "
            f"load it with its own family, in the version that wrote it."
        )
    now = fingerprint(config.env)
    changed = [
        f"{key} was {was.get(key)} and is {now[key]}" for key in now if was.get(key) != now[key]
    ]
    if changed:
        raise WeightsError(
            f"The simulator of {config.env.name} is not the one that was saved in {directory}: "
            f"{'; '.join(changed)}. Install the packages it was saved with, or make a new Oracle."
        )
    return Oracle(config.env, config.threads, config.seed)
