"""Models of known scenes with known faults, and what an evaluation of physics says about them."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from reverie.core.model import Transition
from reverie.core.spec import Space, Spec
from reverie.envs.scenes import TASKS, impossible
from reverie.eval.physics import physics
from reverie.eval.physics_motion import SCORES
from reverie.eval.physics_score import Physics
from tests.eval.scene_worlds import Oracle, frozen, recorded
from tests.eval.worlds import Point, record

BOTH = ("state", "image")
ERRORS = ("position_error", "velocity_error", "energy_error", "momentum_error")


def judged(name: str, change=None, sees=BOTH, episodes=4, horizon=8, push=1.0, **rest) -> Physics:
    windows = recorded(name, episodes, horizon + 3, push=push)
    model = Oracle(name, change, sees)
    return physics(model, windows, name, observed=3, horizon=horizon, **rest)


@pytest.mark.parametrize("name", TASKS)
def test_the_scenes_own_physics_makes_no_error(name: str) -> None:
    found = judged(name, horizon=6 if name == "stacking" else 12)
    for error in ERRORS:
        assert max(found.measure(error, "state").curves["model"].mean) < 5e-3, error
        image = found.measure(error, "image")
        # From its pictures follows what follows from the real ones.
        real = image.overall["real"].mean
        assert image.overall["model"].mean == pytest.approx(real, rel=0.05, abs=1e-3), error
    assert found.measure("position_error", "state").beats
    assert found.measure("penetration", "state").overall["model"].mean < 2e-3
    assert found.measure("permanence").overall["model"].mean == 1
    for score in SCORES:
        assert found.measure(score).overall["model"].mean > 0.995
        relative = found.measure(f"{score}_relative").overall["model"]
        assert relative.mean == pytest.approx(
            1 / found.measure(score).overall["take"].mean, rel=0.01
        )
    assert (found.windows, found.episodes, found.task) == (4, 4, name)


def test_the_tracker_costs_less_than_a_tenth_of_a_pixel() -> None:
    found = judged("collision")
    assert 1e-5 < found.measure("position_error", "image").overall["real"].mean < 4.6 / 32 / 10


def test_a_model_that_stands_still_errs_as_the_repeated_observation() -> None:
    found = judged("projectile", frozen)
    for error in (*ERRORS, "energy_gain"):
        one = found.measure(error, "state")
        assert one.curves["model"].mean == pytest.approx(one.curves["repeat"].mean, rel=1e-4)
        assert one.curves["model"].mean[-1] != 0
    place = found.measure("position_error", "image").curves
    assert place["model"].mean == pytest.approx(place["repeat"].mean, rel=1e-4)
    for score in SCORES:
        assert found.measure(score).overall["model"].mean == 0
        assert not found.measure(score).beats
    assert found.measure("permanence").overall["model"].mean == 1  # it forgets nothing
    assert not found.measure("position_error", "state").beats


def test_errors_are_in_metres_and_grow_as_the_fault_does() -> None:
    def drift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        after = after.copy()
        after[:, 0] += 0.02
        return after

    found = judged(
        "pendulum", lambda b, a: a + np.array([[0.03, 0.04, 0, 0]]), ("state",), horizon=1
    )
    assert found.measure("position_error").curves["model"].mean == pytest.approx([0.05], rel=1e-3)
    # In free space a shift of 2 cm at every step adds up.
    found = judged("collision", drift, horizon=4, push=0.0)
    expected = 0.02 * np.arange(1, 5)
    assert found.measure("position_error", "state").curves["model"].mean == pytest.approx(
        expected.tolist(), rel=1e-3
    )
    image = found.measure("position_error", "image").curves["model"].mean
    assert image == pytest.approx(expected.tolist(), abs=0.01)


def test_energy_that_doubles_at_every_step_is_found() -> None:
    def faster(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return after * np.array([1, 1, np.sqrt(2), np.sqrt(2)])

    found = judged("collision", faster, ("state",), horizon=3, push=0.0)
    gain = found.measure("energy_gain").curves["model"].mean
    assert gain == pytest.approx([1.0, 3.0, 7.0], rel=1e-3)  # relative to the energy there is
    assert found.measure("energy_error").curves["model"].mean == pytest.approx(gain)
    assert found.measure("velocity_error").curves["model"].mean[0] > 0.2
    assert not found.measure("energy_error").beats
    assert found.measure("energy_error").overall["linear"].mean == pytest.approx(0, abs=1e-5)


def test_energy_that_is_lost_is_told_from_energy_that_is_made() -> None:
    found = judged("pendulum", lambda b, a: a * np.array([1, 1, 0.9, 0.9]), ("state",), push=0.0)
    assert found.measure("energy_gain").curves["model"].mean[-1] < -0.02
    assert found.measure("energy_error").curves["model"].mean[-1] > 0.02


def test_an_object_that_vanishes_is_missed() -> None:
    def vanish(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        after = after.copy()
        after[0, :2] = -3.0
        return after

    found = judged("collision", vanish)
    assert found.measure("permanence").curves["model"].mean == pytest.approx([0.5] * 8)
    image = found.measure("position_error", "image")
    # What is lost stays where it was: its error is that of the repeated observation.
    still = judged("collision", lambda b, a: np.stack([b[0], a[1]]))
    assert image.overall["model"].mean == pytest.approx(
        still.measure("position_error", "image").overall["model"].mean, rel=0.05
    )


def test_a_box_in_the_floor_penetrates_it_by_so_much() -> None:
    def sink(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        after = after.copy()
        after[0, 1] = before[0, 1] - 0.1
        return after

    found = judged("sliding", sink, ("state",), horizon=1).measure("penetration")
    assert found.curves["model"].mean == pytest.approx([0.1], rel=1e-3)
    assert found.curves["repeat"].mean == pytest.approx([0.0], abs=1e-6)
    assert found.beats is None


def test_boxes_that_do_not_turn_have_an_error_of_angle() -> None:
    def upright(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        return np.concatenate([after[:, :4], 0 * after[:, 4:]], 1)

    found = judged("stacking", upright, ("state",), horizon=8).measure("angle_error")
    assert found.unit == "rad"
    assert found.overall["model"].mean > 0.005
    right = judged("stacking", None, ("state",), horizon=8).measure("angle_error")
    assert right.overall["model"].mean < 1e-3


def test_windows_at_once_and_samples_change_nothing_for_a_model_without_noise() -> None:
    one = judged("sliding", frozen)
    two = judged("sliding", frozen, at_once=3, samples=2)
    assert two.samples == 2
    for a, b in zip(one.measures, two.measures, strict=True):
        assert (a.name, a.sensor) == (b.name, b.sensor)
        assert a.overall["model"].mean == pytest.approx(b.overall["model"].mean, rel=1e-5, abs=1e-7)


def test_what_cannot_happen_is_asked_for_with_pairs_of_films() -> None:
    scenes = [impossible("projectile", seed, size=(32, 32)) for seed in range(2)]
    found = judged("projectile", scenes=scenes)
    assert found.plausibility is not None
    assert found.plausibility.all.share == 1
    again = Physics.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again == found
    assert judged("projectile").plausibility is None


def test_a_name_may_say_its_family_and_lie_outside_of_training() -> None:
    windows = recorded("sliding-out", 2, 6)
    found = physics(
        Oracle("sliding-out", sees=("state",)),
        windows,
        "scene:sliding-out",
        observed=2,
        horizon=4,
    )
    assert found.task == "sliding-out"
    assert found.measure("position_error").overall["model"].mean < 1e-4


def test_nothing_is_invented_where_there_is_no_truth() -> None:
    windows = recorded("sliding", 2, 6)
    with pytest.raises(ValueError, match="did you mean 'sliding'"):
        physics(Oracle("sliding"), windows, "slidin", observed=2, horizon=4)
    with pytest.raises(ValueError, match="the model predicts position, still"):
        physics(Point(), record(2, 6), "sliding", observed=2, horizon=4)
    batch = windows.batch
    bare = batch._replace(obs={k: v for k, v in batch.obs.items() if k != "constants"})
    with pytest.raises(ValueError, match=r"lack constants.*pixels and with_state"):
        physics(Oracle("sliding"), windows._replace(batch=bare), "sliding", observed=2, horizon=4)
    model = Oracle("sliding", sees=BOTH)
    model.spec = dataclasses.replace(model.spec, dt=0.07)
    with pytest.raises(ValueError, match=r"multiple of 0.05 s; the model's takes 0.07"):
        physics(model, windows, "sliding", observed=2, horizon=4)


def test_a_model_of_pictures_alone_is_judged_by_them() -> None:
    class Camera(Oracle):
        """Reads pictures only, and shows the last one again."""

        def __init__(self) -> None:
            super().__init__("projectile", sees=("image",))
            obs = {"image": Space((3, 32, 32), "uint8", 0, 255)}
            self.spec = Spec(obs, self.spec.action, dt=0.05, provides=frozenset({"obs"}))

        def initial(self, batch, context=None):
            return torch.zeros(batch, 3, 32, 32)

        def observe(self, state, action, obs, first, noise):
            return obs["image"].float() / 255

        def step(self, state, action, noise):
            return Transition(state)

        def decode(self, state):
            return {"image": state}

    windows = recorded("projectile", 4, 11)
    found = physics(Camera(), windows, "projectile", observed=3, horizon=8)
    assert {m.sensor for m in found.measures} == {"image"}
    place = found.measure("position_error").curves
    assert place["model"].mean == pytest.approx(place["repeat"].mean, rel=1e-5)
