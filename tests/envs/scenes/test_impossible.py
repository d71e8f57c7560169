"""Pairs of films: alike until something happens that cannot."""

import numpy as np
import pytest

from reverie.envs.scenes import KINDS, TASKS, describe, impossible
from reverie.envs.scenes.swing import angle_of


def pair(name: str, kind: str, seeds: int = 20):
    for seed in range(seeds):
        for found in impossible(name, seed, (kind,), (16, 16)):
            return found
    raise AssertionError(f"no {kind} in {name}")


@pytest.mark.parametrize("name", TASKS)
def test_films_are_the_same_until_they_are_not(name: str) -> None:
    pairs = impossible(name, 3, size=(32, 32))
    kinds = {found.kind for found in pairs}
    assert kinds >= {"vanishes", "teleports"}
    assert ("rises" in kinds) == (name != "collision")
    for found in pairs:
        assert found.possible.keys() == found.impossible.keys()
        assert len(found.impossible["image"]) == len(found.possible["image"]) == 61
        for key in ("image", "state", "constants"):
            one, two = found.possible[key], found.impossible[key]
            assert (one[: found.at] == two[: found.at]).all(), (found.kind, key)
        assert (found.possible["state"][found.at] != found.impossible["state"][found.at]).any()
        assert (found.possible["image"] != found.impossible["image"]).any()
        assert not found.impossible["action"].any()


def test_what_vanishes_is_gone_and_the_others_go_on() -> None:
    found = pair("collision", "vanishes")
    gone = found.impossible["state"][found.at :].reshape(-1, 2, 4)
    assert (gone[:, 0, :2] == -3).all()
    assert (gone[:, 1, 0] > 0).all()
    red = found.impossible["image"].astype(int)
    assert ((red[:, 0] - red[:, 2]) > 60).any((1, 2))[: found.at].all()
    assert not ((red[:, 0] - red[:, 2]) > 60).any((1, 2))[found.at :].any()


@pytest.mark.parametrize("name", TASKS)
def test_what_teleports_is_at_least_a_metre_away_and_in_the_room(name: str) -> None:
    found = pair(name, "teleports")
    width = TASKS[name].width
    one, two = (
        rows["state"][found.at].reshape(-1, width)[0] for rows in (found.possible, found.impossible)
    )
    assert np.hypot(*(one - two)[:2]) > 0.9
    assert describe(name, {k: v[found.at] for k, v in found.impossible.items()}).gap.min() > -0.01
    if name == "pendulum":
        lengths = [angle_of(state[None])[2] for state in (one, two)]
        assert lengths[0] == pytest.approx(lengths[1], rel=1e-5)


@pytest.mark.parametrize("name", ["projectile", "collision", "sliding"])
def test_what_passes_overlaps_with_what_it_hits(name: str) -> None:
    found = pair(name, "passes")
    assert describe(name, found.possible).gap.min() > -1e-6
    assert describe(name, found.impossible).gap[: found.at].min() > -1e-6
    assert describe(name, found.impossible).gap[found.at + 2 :].min() < -0.1
    speed = found.impossible["state"].reshape(61, -1, 4)[found.at - 1 : found.at + 3, 0, 2]
    if name != "sliding":
        assert speed == pytest.approx(speed[:1].repeat(4), rel=1e-5)


@pytest.mark.parametrize("name", ["projectile", "sliding", "stacking"])
def test_what_rises_falls_upwards(name: str) -> None:
    found = pair(name, "rises")
    width, at = TASKS[name].width, found.at
    y = found.impossible["state"].reshape(61, -1, width)[:, 0, 1]
    lift = np.diff(y[at - 1 : at + 3], 2) / 0.05**2
    gravity = found.impossible["constants"][0, -5]
    assert lift[-1] == pytest.approx(gravity, rel=0.02)


def test_films_of_a_repeated_action_have_every_nth_row() -> None:
    (one,) = impossible("projectile", 2, ("rises",), (8, 8))
    (two,) = impossible("projectile", 2, ("rises",), (8, 8), repeat=4)
    assert len(two.possible["state"]) == 16
    assert (two.impossible["state"] == one.impossible["state"][::4]).all()
    assert (two.possible["image"] == one.possible["image"][::4]).all()
    same = (two.possible["state"] == two.impossible["state"]).all(1)
    assert same[: two.at].all()
    assert not same[two.at :].any()
    assert two.impossible["last"].tolist() == [False] * 15 + [True]


def test_what_cannot_be_shown_is_left_out() -> None:
    assert not impossible("collision", 0, ("rises",), (8, 8))
    assert not impossible("pendulum", 0, ("passes",), (8, 8))
    assert set(KINDS) == {"vanishes", "teleports", "passes", "rises"}
