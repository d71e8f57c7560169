"""Gymnasium environments, registered ones and one's own."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from reverie.core.spec import Space
from reverie.envs import Env, EnvError, RenderError, from_gymnasium, make, opengl
from reverie.envs.gymnasium import names, resize


class Own(gymnasium.Env):
    """Takes its spaces as given; observes what `value` says; ends as told."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}

    def __init__(self, observation, action=None, value=None, ends=(False, False), mode=None):
        self.observation_space = observation
        self.action_space = action or spaces.Box(-1.0, 1.0, (1,))
        self.value, self.ends, self.render_mode = value, ends, mode
        self.actions, self.seeds = [], []

    def observe(self):
        if self.value is not None:
            return self.value
        self.observation_space.seed(int(self.np_random.integers(1000)))
        return self.observation_space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        return self.observe(), {}

    def step(self, action):
        self.actions.append(action)
        return self.observe(), 1.5, *self.ends, {}

    def render(self):
        image = np.zeros((40, 80, 3), np.uint8)
        image[:20, :40] = (200, 100, 50)
        return image


VECTOR = spaces.Box(-np.inf, np.inf, (3,))


def test_pendulum_is_scaled_timed_and_faithful():
    env = make("gym:Pendulum-v1", repeat=2)
    assert isinstance(env, Env)
    assert env.name == "gym:Pendulum-v1"
    assert env.dt == pytest.approx(0.1)
    assert (env.action.low, env.action.high) == (-1.0, 1.0)
    assert env.obs["state"].high == (1.0, 1.0, 8.0)
    theirs = gymnasium.make("Pendulum-v1")
    observation, _ = theirs.reset(seed=5)
    np.testing.assert_array_equal(env.reset(5).obs["state"], observation)
    for value in (0.25, -3.0):
        row = env.step(np.array([value]))
        torque = np.array([np.clip(value, -1, 1) * 2], np.float32)
        steps = [theirs.step(torque) for _ in range(2)]
        assert row.reward == pytest.approx(steps[0][1] + steps[1][1], rel=1e-6)
        np.testing.assert_array_equal(row.obs["state"], steps[1][0])


def test_a_time_limit_truncates_and_a_fall_terminates():
    env = make("gym:CartPole-v1")
    assert env.action == Space((2,), low=0.0, high=1.0, discrete=True)
    row = env.reset(0)
    while not row.last:
        row = env.step(np.array([1.0, 0.0]))
    assert row.terminated
    pendulum = make("gym:Pendulum-v1", repeat=50)
    pendulum.reset(0)
    rows = [pendulum.step(np.zeros(1)) for _ in range(4)]
    assert rows[-1].last
    assert not rows[-1].terminated
    assert pendulum.decisions == 4
    assert from_gymnasium(Own(VECTOR)).decisions == 0


@pytest.mark.parametrize(
    ("ends", "last", "terminated"),
    [
        ((False, False), False, False),
        ((True, False), True, True),
        ((False, True), True, False),
        ((True, True), True, True),
    ],
)
def test_both_flags_are_kept_apart_and_terminated_wins(ends, last, terminated):
    env = from_gymnasium(Own(VECTOR, ends=ends))
    env.reset(0)
    row = env.step(np.zeros(1))
    assert (row.last, row.terminated, row.reward) == (last, terminated, 1.5)


@pytest.mark.parametrize("name", ["gym:Pendulum-v1", "gym:CartPole-v1", "gym:Hopper-v5"])
def test_the_same_seed_gives_the_same_episode_whatever_came_before(name):
    fresh, used = make(name), make(name)
    actions = np.random.default_rng(0).uniform(-1, 1, (6, *fresh.action.shape))
    used.reset(1)
    for action in actions[:4]:
        used.step(action)
    one = [fresh.reset(9), *(fresh.step(action) for action in actions)]
    two = [used.reset(9), *(used.step(action) for action in actions)]
    for a, b in zip(one, two, strict=True):
        assert a.reward == b.reward
        np.testing.assert_array_equal(a.obs["state"], b.obs["state"])


def test_nested_spaces_become_flat_names():
    inner = spaces.Dict({"arm": spaces.Box(-1, 1, (2, 3)), "grip": spaces.Discrete(3, start=5)})
    outer = spaces.Dict(
        {
            "robot": inner,
            "pair": spaces.Tuple([spaces.MultiBinary(4), spaces.MultiDiscrete([2, 3])]),
            "obs.height": spaces.Box(0, 9, ()),
        }
    )
    value = {
        "robot": {"arm": np.ones((2, 3)), "grip": np.int64(7)},
        "pair": (np.array([1, 0, 0, 1]), np.array([1, 2])),
        "obs.height": np.float32(4),
    }
    env = from_gymnasium(Own(outer, value=value))
    assert set(env.obs) == {"robot/arm", "robot/grip", "pair/0", "pair/1", "obs/height"}
    assert env.obs["robot/grip"] == Space((3,), low=0.0, high=1.0, discrete=True)
    obs = env.reset(0).obs
    assert obs["robot/arm"].shape == (2, 3)
    assert obs["robot/grip"].tolist() == [0, 0, 1]
    assert obs["pair/0"].tolist() == [1, 0, 0, 1]
    assert obs["pair/1"].tolist() == [0, 1, 0, 0, 1]
    assert obs["obs/height"].tolist() == [4]
    assert all(array.dtype == np.float32 for array in obs.values())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((48, 64, 3), (3, 48, 64)),
        ((48, 64, 1), (1, 48, 64)),
        ((3, 48, 64), (3, 48, 64)),
        ((48, 64), (1, 48, 64)),
        ((64, 64, 12), (12, 64, 64)),
    ],
)
def test_pictures_turn_to_channels_first(shape, expected):
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    env = from_gymnasium(Own(spaces.Box(0, 255, shape, np.uint8), value=image))
    assert env.obs == {"image": Space(expected, "uint8", 0, 255)}
    seen = env.reset(0).obs["image"]
    assert seen.sum() == image.sum()
    if shape[-1] == 3:
        np.testing.assert_array_equal(seen[2], image[..., 2])


def test_a_vector_of_bytes_is_no_picture():
    env = from_gymnasium(Own(spaces.Box(0, 255, (128,), np.uint8)))
    assert env.obs["state"].dtype == "float32"
    assert env.reset(0).obs["state"].shape == (128,)


def test_actions_of_any_rank_are_vectors_and_keep_infinite_entries():
    low = np.array([[-2.0, -np.inf], [0.0, -1.0]], np.float32)
    high = np.array([[2.0, np.inf], [4.0, 1.0]], np.float32)
    own = Own(VECTOR, spaces.Box(low, high))
    env = from_gymnasium(own)
    assert env.action.shape == (4,)
    env.reset(0)
    env.step(np.array([0.5, 30.0, -9.0, 0.25]))
    np.testing.assert_array_equal(own.actions[0], [[1, 30], [0, 0.25]])
    assert own.actions[0].dtype == np.float32


def test_a_discrete_action_arrives_as_its_integer():
    own = Own(VECTOR, spaces.Discrete(3, start=-1))
    env = from_gymnasium(own)
    env.reset(0)
    env.step(np.array([0.0, 0.0, 1.0]))
    assert own.actions == [1]
    assert own.action_space.contains(own.actions[0])


@pytest.mark.parametrize(
    ("observation", "action", "words"),
    [
        (spaces.Text(5), None, ["Text", "TransformObservation"]),
        (spaces.Dict({"a": spaces.Sequence(VECTOR)}), None, ["'a'", "Sequence"]),
        (spaces.Dict({"reward": VECTOR}), None, ["'reward'", "choose a name"]),
        (spaces.Dict({"a.b": VECTOR, "a/b": VECTOR}), None, ["'a/b'", "rename"]),
        (VECTOR, spaces.MultiDiscrete([2, 3]), ["MultiDiscrete", "TransformAction"]),
        (VECTOR, spaces.Box(0, 9, (2,), np.int64), ["int64", "Box of floats"]),
        (VECTOR, spaces.Dict({"a": VECTOR}), ["Dict", "action"]),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_name(observation, action, words):
    with pytest.raises(ValueError, match="own") as error:
        from_gymnasium(Own(observation, action), "own")
    for word in words:
        assert word in str(error.value)


def test_a_factory_is_called_once_and_a_stranger_refused():
    made = []

    def factory():
        made.append(Own(VECTOR))
        return made[-1]

    env = from_gymnasium(factory, "mine", repeat=3, max_decisions=2)
    assert (env.name, env.repeat, len(made)) == ("mine", 3, 1)
    assert env.dt == pytest.approx(3 / 25)
    with pytest.raises(ValueError, match="SimpleNamespace"):
        from_gymnasium(lambda: sys.implementation)
    vector = gymnasium.vector.SyncVectorEnv([lambda: Own(VECTOR)])
    with pytest.raises(ValueError, match="parallel"):
        from_gymnasium(lambda: vector)


def test_the_time_step_is_the_attribute_else_the_frame_rate_else_a_default():
    own = Own(VECTOR)
    own.dt = 0.004
    assert from_gymnasium(own).dt == 0.004
    own = Own(VECTOR)
    own.metadata = {}
    assert from_gymnasium(own).dt == 0.05


def test_a_random_environment_may_say_that_it_is_not_repeatable():
    assert from_gymnasium(Own(VECTOR)).repeatable
    assert not from_gymnasium(Own(VECTOR), repeatable=False).repeatable


def test_a_nan_names_the_observation():
    env = from_gymnasium(Own(VECTOR, value=np.array([0, np.nan, 0], np.float32)), "mine")
    with pytest.raises(EnvError, match=r"mine: observation 'state' at the reset is nan in entry 1"):
        env.reset(0)


def test_its_own_pictures_are_resized_by_area():
    env = from_gymnasium(Own(VECTOR, mode="rgb_array"), pixels=True, size=(4, 4))
    image = env.reset(0).obs["image"]
    assert image[:, :2, :2].reshape(3, -1).T.tolist() == [[200, 100, 50]] * 4
    assert not image[:, 2:].any()
    assert from_gymnasium(
        Own(VECTOR, mode="rgb_array"), pixels=True, with_state=True
    ).obs.keys() == {
        "image",
        "state",
    }


def test_an_environment_that_cannot_draw_says_what_to_do():
    with pytest.raises(ValueError, match='render_mode="rgb_array"'):
        from_gymnasium(Own(VECTOR), pixels=True)
    env = from_gymnasium(Own(VECTOR))
    env.reset(0)
    env.simulator.env.render = lambda: None
    with pytest.raises(RenderError, match="NoneType"):
        env.render()


def test_resizing_keeps_means_and_edges():
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)
    small = resize(image, 20, 30)
    blocks = image.reshape(20, 3, 30, 3, 3).mean((1, 3))
    np.testing.assert_allclose(small, blocks, atol=0.51)
    odd = resize(image, 7, 11)
    assert odd.shape == (7, 11, 3)
    assert abs(odd.mean() - image.mean()) < 1
    np.testing.assert_array_equal(resize(image[:2, :2], 4, 4)[::2, ::2], image[:2, :2])


def test_mujoco_robots_are_drawn_directly_and_fast():
    try:
        opengl.context()
    except RenderError as missing:
        pytest.skip(str(missing))
    env = make("gym:Hopper-v5", pixels=True, size=(48, 48))
    image = env.reset(0).obs["image"]
    assert image.shape == (3, 48, 48)
    assert image.std() > 10
    for _ in range(5):
        row = env.step(np.array([1.0, -1.0, 1.0]))
    assert not np.array_equal(row.obs["image"], image)


def test_an_unknown_name_names_its_neighbours():
    with pytest.raises(ValueError, match="Pendulum-v1"):
        make("gym:Pendulm-v1")
    with pytest.raises(ValueError, match="Hopper-v5"):
        make("gym:Hopper-v9")
    assert "CartPole-v1" in names()


def test_options_that_are_not_ours_reach_gymnasium():
    env = make("gym:Pendulum-v1", g=3.0)
    assert env.simulator.env.unwrapped.g == 3.0


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "reverie\[gym\]"'):
        make("gym:Pendulum-v1")
