"""Ground from a seed: the same again, as high as it says, and read as it is written."""

from typing import Any

import numpy as np
import pytest
import torch

from reverie.physics import rigid
from reverie.physics.robots import quadruped
from reverie.physics.terrain import KINDS, Ground, Terrain, terrain


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_its_ground_again_and_another_gives_another(kind: Ground) -> None:
    one, same, other = (terrain(kind, seed, 0.1).heights for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert (kind == "flat") == np.array_equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_it_has_its_relief_ahead_and_is_level_where_the_robot_begins(
    kind: Ground, seed: int
) -> None:
    ground = terrain(kind, seed, 0.08)
    x = np.linspace(ground.low[0], ground.high[0], ground.heights.shape[1])
    assert np.all(ground.heights[:, x <= 0.3] == 0)
    assert ground.heights.min() >= 0 and ground.heights.max() <= 0.08 + 1e-12
    assert (ground.heights.max() > 0.05) == (kind != "flat")


def test_stairs_go_up_and_down_by_equal_steps() -> None:
    ground = terrain("steps", 2, 0.12, high=(4.0, 0.5))
    row = ground.heights[0]
    assert np.ptp(ground.heights, axis=0).max() == 0  # alike along y
    x = np.linspace(ground.low[0], ground.high[0], len(row))
    jumps = np.diff(row[x >= 0.53])
    jumps = jumps[np.abs(jumps) > 1e-9]
    rises = np.count_nonzero(jumps > 0)
    np.testing.assert_allclose(np.abs(jumps), np.abs(jumps[0]))
    assert rises in (2, 3) and np.count_nonzero(jumps < 0) == rises
    assert row.max() == pytest.approx(0.12) and row[-1] == 0


def test_heights_are_bilinear_between_points() -> None:
    z = np.array([[0.0, 1.0, 4.0], [2.0, 5.0, 3.0]])
    ground = Terrain(z, (-1.0, 0.0), (1.0, 2.0))
    assert ground.at(0.0, 2.0) == 5.0
    assert ground.at(-0.5, 1.0) == pytest.approx((0 + 1 + 2 + 5) / 4)
    assert ground.at(0.25, 0.5) == pytest.approx(0.75 * (0.75 * 1 + 0.25 * 4) + 0.25 * 4.5)
    assert ground.at(9.0, 9.0) == 3.0


@torch.no_grad()
def test_a_robot_is_on_the_ground_that_was_made() -> None:
    """Rows and columns are not exchanged or turned, and a foot rests at the height of its place."""
    ground = terrain("blocks", 1, 0.06, low=(-0.6, -0.5), high=(1.2, 0.7), level=(-0.5, -0.4))
    loaded = rigid.load(quadruped(terrain=ground))
    (field,) = loaded.model.fields
    (geom,) = (g for g, x in enumerate(loaded.model.geoms) if x.kind == "field")
    tops = float(loaded.params.sizes[0, geom, 2])
    np.testing.assert_allclose(field.heights * tops, ground.heights, atol=2e-4)
    state = loaded.poses["default"]
    lifted = state.position.clone()
    lifted[:, 2] += ground.heights.max()
    state = state._replace(position=lifted)
    for _ in range(400):
        state = rigid.rigid_step(loaded.model, state, loaded.params, torch.zeros(1, 12), 0.004)
    places = rigid.kinematics(loaded.model, state, loaded.params).geoms[0, :, :3]
    feet = [g for g, x in enumerate(loaded.model.geoms) if x.name.endswith("foot")]
    clear = [float(places[g, 2]) - ground.at(*places[g, :2].tolist()) for g in feet]
    assert max(clear) < 0.05 and sorted(clear)[2] < 0.03  # radius 0.025; slopes beside blocks
    assert min(clear) > 0.02


BAD: list[dict[str, Any]] = [
    {"kind": "sea"},
    {"relief": -0.1},
    {"gap": 0.0},
    {"high": (-0.75, 0.8)},
    {"level": (0.5, 0.5)},
]


@pytest.mark.parametrize("wrong", BAD)
def test_what_makes_no_ground_is_refused(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"kind": "rough", "seed": 0, "relief": 0.05, **wrong}
    with pytest.raises(ValueError, match=r"There is no ground|give a relief"):
        terrain(**given)
