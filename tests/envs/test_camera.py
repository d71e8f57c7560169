"""Pictures of MuJoCo worlds: fast, faithful where full, and no GL before the first one."""

import threading
import time

import numpy as np
import pytest

from reverie.envs import RenderError, make, opengl
from tests.envs.test_dm_control import python


@pytest.fixture(autouse=True)
def gl():
    try:
        opengl.context()
    except RenderError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def walker():
    env = make("dmc:walker_walk", pixels=True, with_state=True)
    yield env
    env.close()


def test_pictures_are_observed(walker):
    row = walker.reset(0)
    image = row.obs["image"]
    assert image.shape == (3, 64, 64)
    assert image.dtype == np.uint8
    assert image.std() > 10
    for _ in range(10):
        row = walker.step(np.ones(6))
    assert not np.array_equal(row.obs["image"], image)
    assert set(row.obs) == {"image", "orientations", "height", "velocity"}


def test_the_robot_stands_on_the_floor_and_not_on_its_head(walker):
    walker.reset(0)
    physics = walker.simulator.env.physics
    physics.data.qpos[:] = 0  # upright, the torso about 1.3 m above the floor
    physics.forward()
    image = walker.render(64, 64).astype(int)
    orange = np.argwhere(image[..., 0] - image[..., 2] > 40)
    assert 5 < orange[:, 0].mean() < 45
    blue_below = image[48:, :, 2].mean() - image[:16, :, 2].mean()
    assert blue_below > 20


def test_a_picture_depends_on_the_state_alone(walker):
    one = walker.reset(5).obs["image"]
    walker.reset(6)
    walker.render(480, 640)
    np.testing.assert_array_equal(walker.reset(5).obs["image"], one)
    fresh = make("dmc:walker_walk", pixels=True)
    np.testing.assert_array_equal(fresh.reset(5).obs["image"], one)


def test_environments_draw_side_by_side(walker):
    seeds = (1, 2, 3)
    alone = [walker.reset(seed).obs["image"] for seed in seeds]
    other = make("dmc:walker_walk", pixels=True)
    third = make("dmc:cartpole_swingup", pixels=True, size=(80, 80))
    third.reset(0)
    for k, seed in enumerate(seeds):
        np.testing.assert_array_equal(other.reset(seed).obs["image"], alone[k])
        third.render(30, 50)
        np.testing.assert_array_equal(walker.reset(seeds[-k]).obs["image"], alone[-k])
    other.close()
    np.testing.assert_array_equal(walker.reset(1).obs["image"], alone[0])


@pytest.mark.parametrize("shape", [(64, 64), (240, 320), (480, 640), (31, 77)])
def test_any_size_can_be_drawn(walker, shape):
    walker.reset(0)
    assert walker.render(*shape).shape == (*shape, 3)


def test_another_thread_draws_the_same(walker):
    mine = walker.reset(2).obs["image"]
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(walker.render(64, 64)))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(np.moveaxis(theirs[0], -1, 0), mine)
    np.testing.assert_array_equal(np.moveaxis(walker.render(64, 64), -1, 0), mine)


def test_the_model_keeps_its_own_quality(walker):
    walker.reset(0)
    look = walker.simulator.env.physics.model.vis.quality
    assert (look.offsamples, look.shadowsize) == (4, 2048)


def test_terrain_of_this_episode_is_drawn():
    used = make("dmc:quadruped_escape", pixels=True)
    first = used.reset(1).obs["image"]
    fresh = make("dmc:quadruped_escape", pixels=True)
    expected = fresh.reset(2).obs["image"]
    np.testing.assert_array_equal(used.reset(2).obs["image"], expected)
    np.testing.assert_array_equal(fresh.reset(1).obs["image"], first)
    assert not np.array_equal(first, expected)


def test_an_unknown_camera_names_those_that_exist():
    with pytest.raises(ValueError, match=r"side.*back"):
        make("dmc:walker_walk", camera="front")
    side, back = (make("dmc:walker_walk", pixels=True, camera=c) for c in ("side", "back"))
    assert not np.array_equal(side.reset(0).obs["image"], back.reset(0).obs["image"])


def test_two_cameras_and_the_joints_are_observed_together():
    for name, first, second in (
        ("dmc:walker_walk", "side", "back"),
        ("gym:HalfCheetah-v5", "track", "-1"),
    ):
        both = make(name, pixels=True, with_state=True, camera=f"{first}, {second}", size=(32, 48))
        cameras = {"image": first, f"image_{second}": second}
        own = set(make(name).obs)
        assert set(both.obs) == {*cameras, *own}
        row = both.reset(0)
        row = both.step(np.ones(both.action.shape))
        for sensor, camera in cameras.items():
            one = make(name, pixels=True, camera=camera, size=(32, 48))
            one.reset(0)
            alone = one.step(np.ones(one.action.shape)).obs["image"]
            np.testing.assert_array_equal(row.obs[sensor], alone)
            one.close()
        assert not np.array_equal(row.obs["image"], row.obs[f"image_{second}"])
        both.close()


def test_a_camera_named_twice_is_refused():
    with pytest.raises(ValueError, match="'side' is named twice"):
        make("dmc:walker_walk", pixels=True, camera="back,side,side")


def test_fast_is_several_times_faster_than_full(walker):
    full = make("dmc:walker_walk", pixels=True, quality="full")

    def seconds(env):
        env.reset(0)
        start = time.process_time()
        for _ in range(4):
            env.render(64, 64)
        return time.process_time() - start

    seconds(walker)  # the first pictures compile shaders
    assert seconds(full) > 3 * seconds(walker)


THEIRS = """
import os, sys
os.environ["MUJOCO_GL"] = "egl"
import numpy as np
from dm_control import suite
from reverie.envs import make
env = make("dmc:walker_walk", quality="full")
env.reset(3)
theirs = suite.load("walker", "walk", task_kwargs={"random": 0})
theirs.task.random.seed(3)
theirs.reset()
fast = make("dmc:walker_walk")
fast.reset(3)
for _ in range(2):  # in turns: each renderer leaves the other's context as it was
    a, b = env.render(60, 80), theirs.physics.render(60, 80, camera_id=0)
    assert not np.array_equal(fast.render(60, 80), b)
    print("equal", np.array_equal(a, b), a.std() > 10)
"""


def test_full_quality_is_dm_controls_own_picture_and_both_renderers_get_along():
    done = python(THEIRS)
    if "ImportError" in done.stderr and "EGL" in done.stderr:
        pytest.skip("dm_control itself cannot draw with EGL here")
    assert done.stdout.splitlines() == ["equal True True"] * 2, done.stderr
