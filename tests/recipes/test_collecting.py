"""Recording environments: by policies, and by a person at the keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reverie.data.datasets import open_dataset
from reverie.envs import EnvConfig, RenderError, make, opengl
from reverie.envs.instructions import INSTRUCTIONS, spoken
from reverie.envs.parallel import episode_seed
from reverie.recipes.collecting import Collecting, collect, drive
from reverie.recipes.dreamer import DreamerRecipe
from tests.recipes.conftest import ENV_OF_TINY


def config(out: Path, **changes: Any) -> Collecting:
    return Collecting(out, **{"env": ENV_OF_TINY, "episodes": 2, "format": "store", **changes})


def actions(out: Path) -> np.ndarray:
    dataset = open_dataset(out)
    return np.concatenate([dataset.read(e.name)["action"][1:] for e in dataset.episodes()])


def test_random_actions_are_recorded_with_what_they_mean(tmp_path: Path) -> None:
    found = collect(config(tmp_path / "a"))
    assert (found.episodes, found.decisions) == (2, 120)
    dataset = open_dataset(tmp_path / "a")
    assert dataset.about.dt == pytest.approx(0.05)
    assert dataset.about.source == "toy:pendulum"
    assert dataset.about.action.high == pytest.approx((1.5,))
    assert [e.rows for e in dataset.episodes()] == [61, 61]
    returns = [float(dataset.read(e.name)["reward"].sum()) for e in dataset.episodes()]
    assert returns == pytest.approx(found.returns, rel=1e-5)
    assert actions(tmp_path / "a").std() == pytest.approx(1 / 3**0.5, rel=0.1)


def test_what_was_recorded_happens_again_in_the_environment(tmp_path: Path) -> None:
    collect(config(tmp_path / "a", policy="scripted", noise=0.1))
    dataset, env = open_dataset(tmp_path / "a"), make(ENV_OF_TINY)
    rows = dataset.read(dataset.episodes()[0].name)
    row = env.reset(episode_seed(0, 0, 0))
    for t in range(1, len(rows["reward"])):
        row = env.step(rows["action"][t])
        assert np.array_equal(row.obs["velocity"], rows["velocity"][t])
        assert row.reward == pytest.approx(rows["reward"][t])


def test_more_episodes_are_added_and_are_others(tmp_path: Path) -> None:
    for _ in range(2):
        collect(config(tmp_path / "a"))
    dataset = open_dataset(tmp_path / "a")
    begins = {dataset.read(e.name, 0, 1)["velocity"].tobytes() for e in dataset.episodes()}
    assert len(begins) == 4
    with pytest.raises(ValueError, match="'reverie store'; choose another directory"):
        collect(config(tmp_path / "a", format="lerobot"))


def test_a_trained_policy_records_in_its_own_environment(
    trained: DreamerRecipe, tmp_path: Path
) -> None:
    collect(config(tmp_path / "a", policy=str(trained.run)))
    collect(config(tmp_path / "b", policy=str(trained.run), random=1.0))
    assert not np.array_equal(actions(tmp_path / "a"), actions(tmp_path / "b"))
    pixels = EnvConfig("toy:pendulum", pixels=True, max_decisions=5)
    with pytest.raises(ValueError, match="reads orientation, velocity"):
        collect(config(tmp_path / "c", env=pixels, policy=str(trained.run)))


def always(obs: Any, action: Any) -> Any:
    """A policy of a user's own."""

    class Half:
        def begin(self, batch: int, obs: Any = None) -> torch.Tensor:
            return torch.zeros(batch, 1)

        def act(self, memory: Any, obs: Any, first: Any, generator: Any = None) -> Any:
            return torch.full((len(first), action.size), 0.5), memory

    return Half()


def test_a_policy_of_ones_own_is_imported_by_name(tmp_path: Path) -> None:
    collect(config(tmp_path / "a", policy=f"{__name__}:always"))
    assert (actions(tmp_path / "a") == 0.5).all()
    for name, words in (("nobody", "no policy 'nobody'"), ("a.b:c", "cannot be imported")):
        with pytest.raises(ValueError, match=words):
            collect(config(tmp_path / "b", policy=name))


def test_a_lerobot_dataset_keeps_pictures_and_words(tmp_path: Path) -> None:
    pytest.importorskip("av")
    env = EnvConfig("toy:pendulum", pixels=True, with_state=True, size=(32, 32), max_decisions=6)
    collect(config(tmp_path / "a", env=env, format="lerobot", task="swing it up"))
    dataset = open_dataset(tmp_path / "a")
    assert {e.task for e in dataset.episodes()} == {"swing it up"}
    assert set(dataset.obs) == {"image", "orientation", "velocity"}
    rows = dataset.read(dataset.episodes()[1].name)
    assert rows["image"].shape == (7, 3, 32, 32)
    assert rows["last"].tolist() == [False] * 6 + [True]


@pytest.mark.parametrize("format", ["store", "lerobot"])
def test_what_a_robot_was_told_is_recorded_with_what_it_did(tmp_path: Path, format: str) -> None:
    if format == "lerobot":
        pytest.importorskip("av")
    env = EnvConfig("toy:tabletop", pixels=True, size=(32, 32))
    found = collect(config(tmp_path / "a", env=env, policy="scripted", format=format, noise=0.1))
    assert min(found.returns) > 0.9
    dataset = open_dataset(tmp_path / "a")
    assert set(dataset.obs) == {"image", "text"}
    told = set()
    for episode in dataset.episodes():
        texts = {spoken(text) for text in dataset.read(episode.name)["text"]}
        assert len(texts) == 1
        told |= texts
    assert told <= set(INSTRUCTIONS)
    dataset.close()


def test_two_cameras_and_the_joints_are_recorded_together(tmp_path: Path) -> None:
    pytest.importorskip("av")
    try:
        opengl.context()
    except RenderError as missing:
        pytest.skip(str(missing))
    env = EnvConfig(
        "dmc:reacher_easy",
        pixels=True,
        with_state=True,
        size=(32, 32),
        camera="0, -1",
        max_decisions=4,
    )
    collect(config(tmp_path / "a", env=env, format="lerobot"))
    dataset, made = open_dataset(tmp_path / "a"), make(env)
    rows = dataset.read(dataset.episodes()[0].name)
    assert set(dataset.obs) == {"image", "image_-1", "position", "to_target", "velocity"}
    row = made.reset(episode_seed(0, 0, 0))
    for t in range(5):
        row = made.step(rows["action"][t]) if t else row
        for name in ("image", "image_-1"):  # a film is not stored exactly
            assert np.abs(rows[name][t].astype(int) - row.obs[name]).mean() < 6
        np.testing.assert_allclose(rows["position"][t], row.obs["position"], atol=1e-5)
    made.close()


class Person:
    """Holds the first key down, and ends episodes as told."""

    def __init__(self, *wishes: tuple[int, str]) -> None:
        self.wishes, self.shown, self.age = list(wishes), 0, 0

    def action(self, size: int) -> np.ndarray:
        return np.full(size, 2.0)

    def wish(self) -> Any:
        self.age += 1
        if self.wishes and self.age > self.wishes[0][0]:
            self.age = 0
            return self.wishes.pop(0)[1]
        return "go"

    def show(self, env: Any, row: Any, decision: int, episode: int) -> None:
        self.shown += 1


def test_a_person_keeps_drops_and_ends(tmp_path: Path) -> None:
    person, slept = Person((5, "end"), (9, "drop"), (7, "quit")), []
    found = drive(config(tmp_path / "a", episodes=9), person, slept.append)
    assert (found.episodes, found.decisions) == (2, 12)
    dataset = open_dataset(tmp_path / "a")
    assert [e.rows for e in dataset.episodes()] == [6, 8]
    assert all(dataset.read(e.name)["last"][-1] for e in dataset.episodes())
    assert (actions(tmp_path / "a") == 1).all()
    assert person.shown == len(slept) == 5 + 9 + 7


def test_an_environment_of_choices_cannot_be_driven(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chooses among 2"):
        drive(config(tmp_path / "a", env=EnvConfig("toy:balance")), Person())
