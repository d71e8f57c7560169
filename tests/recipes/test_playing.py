"""What `reverie play` is given, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie.core.rollout import encode
from reverie.data.lerobot.writer import LeRobotWriter
from reverie.envs import EnvConfig, make
from reverie.learn.run import PrefillConfig, RunConfig
from reverie.recipes.data import DataConfig
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.playing import Drawn, Playing, recording_of, staged
from reverie.recipes.run import load, train
from tests.recipes.conftest import tiny

PIXELS = EnvConfig("toy:pendulum", pixels=True, size=(64, 64), max_decisions=60)
LEFT = np.float32([-1])


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny(tmp_path_factory.mktemp("seeing") / "run", env=PIXELS)
    train(recipe)
    return Path(recipe.run)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that learnt from recorded episodes with pictures, and has no environment."""
    place = tmp_path_factory.mktemp("recorded")
    env = make(PIXELS)
    with LeRobotWriter(place / "data", env.obs, env.action, dt=env.dt, video=False) as writer:
        for seed in range(3):
            row, action = env.reset(seed), np.zeros(1, np.float32)
            for t in range(20):
                flags = {"first": t == 0, "last": t == 19, "terminated": False}
                writer.append(0, {**row.obs, **flags, "action": action, "reward": row.reward})
                action = np.float32([np.sin(t)])
                row = env.step(action)
        writer.finish()
    env.close()
    training = RunConfig(updates=2, frames=0, prefill=PrefillConfig())
    made: DreamerRecipe = replace(
        tiny(place / "run"), data=DataConfig(str(place / "data")), training=training
    )
    train(made)
    return Path(made.run)


def test_a_run_begins_where_it_acted_and_imagines_by_its_own_model(seeing: Path) -> None:
    stage = staged(str(seeing), Playing(beside=True))
    assert "240 frames and 20 updates" in stage.about
    played = stage.build()
    played.begin(3)
    played.advance(LEFT)
    (shown,) = played.advance(LEFT)
    loaded = load(seeing)
    env, generator = make(loaded.env), loaded.device.generator(3)
    image = torch.from_numpy(env.reset(3).obs["image"])[None]
    with torch.no_grad():
        state = encode(loaded.model, {"image": image}, None, generator)
        for _ in range(2):
            noise = loaded.model.noise(1, generator)
            state = loaded.model.step(state, torch.full((1, 1, 1), -1.0), noise).state
        own = (loaded.model.decode(state)["image"][0].clamp(0, 1) * 255).round().byte()
    np.testing.assert_array_equal(np.moveaxis(shown.picture, -1, 0), own)
    env.step(LEFT)
    np.testing.assert_array_equal(np.moveaxis(shown.real, -1, 0), env.step(LEFT).obs["image"])
    played.close()
    env.close()


def test_recordings_stay_in_the_run_and_say_that_a_model_made_them(seeing: Path) -> None:
    stage = staged(str(seeing), Playing())
    played = stage.build()
    played.begin(0)
    config = recording_of(stage, played)
    assert config.folder == seeing / "play"
    assert config.robot == "generated: dreamer world model of toy:pendulum"
    assert list(config.obs) == ["image"]
    assert config.about.high == (1.5,)  # [N m]
    played.close()


def test_a_run_of_recorded_episodes_begins_with_one(recorded: Path) -> None:
    played = staged(str(recorded), Playing()).build()
    assert not played.world.beside
    images = [played.world.begin(seed).obs["image"] for seed in (0, 3, 1)]
    env = make(PIXELS)
    for image, seed in zip(images, (0, 0, 1), strict=True):  # of 3 episodes, counted around
        np.testing.assert_array_equal(image, env.reset(seed).obs["image"])
    env.close()
    assert played.begin(0).first
    assert len(played.advance(LEFT)) == 1
    played.close()


def test_beside_recorded_episodes_a_simulator_must_be_named(recorded: Path) -> None:
    with pytest.raises(ValueError, match="--env NAME"):
        staged(str(recorded), Playing(beside=True))
    played = staged(str(recorded), Playing(beside=True, env="toy:pendulum")).build()
    assert played.begin(0).real is not None
    assert played.advance(LEFT)[0].distance is not None
    played.close()
    with pytest.raises(ValueError, match=r"takes actions \(2,\)"):
        staged(str(recorded), Playing(env="toy:balance")).build().begin(0)


def test_what_cannot_be_played_is_refused_with_what_to_do(
    tmp_path: Path, trained: DreamerRecipe, seeing: Path
) -> None:
    with pytest.raises(ValueError, match=r"--env\.pixels"):
        staged(str(trained.run), Playing())
    with pytest.raises(ValueError, match="neither the directory of a run"):
        staged(str(tmp_path), Playing())
    with pytest.raises(ValueError, match="neither the directory of a run"):
        staged(str(tmp_path / "nothing"), Playing())
    with pytest.raises(ValueError, match="no camera 'top'"):
        staged(str(seeing), Playing(camera="top"))
    with pytest.raises(ValueError, match="leave --env out"):
        staged(str(seeing), Playing(env="toy:balance"))
    with pytest.raises(ValueError, match="outside 0"):
        staged(str(seeing), Playing(seed=-1))
    with pytest.raises(ValueError, match="reads no text"):
        staged(str(seeing), Playing(text="up")).build()
    with pytest.raises(ValueError, match="dreamer model does not denoise"):
        staged(str(seeing), Playing(steps=4))
    with pytest.raises(ValueError, match="is a simulator, which does not denoise"):
        staged("dmc:cartpole_swingup", Playing(steps=4))


def test_the_exact_simulator_is_played_as_any_model_and_does_not_drift() -> None:
    stage = staged("dmc:cartpole_swingup", Playing(beside=True))
    played = stage.build()
    assert isinstance(played.model, Drawn)
    begun = played.begin(2)
    assert begun.distance == 0
    for _ in range(5):
        (moment,) = played.advance(np.float32([0.7]))
    assert moment.distance == 0
    assert moment.reward == pytest.approx(moment.actual)
    assert (moment.picture != begun.picture).any()
    played.close()


def test_a_simulator_without_mujoco_says_so() -> None:
    with pytest.raises(ValueError, match="MuJoCo"):
        staged("toy:pendulum", Playing()).build()
