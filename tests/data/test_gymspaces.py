"""Against Gymnasium's own spaces and their samples, as Minari writes them."""

import json
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from reverie.core.spec import Space
from reverie.data.gymspaces import join_action, parse_space

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from minari.serialization import serialize_space


def leaves(space):
    return {leaf.name: leaf for leaf in parse_space(serialize_space(space))}


def sampled(space, count=20):
    space.seed(0)
    return np.stack([space.sample() for _ in range(count)])


def one(space):
    (leaf,) = leaves(space).values()
    return leaf, leaf.dress(sampled(space))


def test_a_lone_box():
    box = spaces.Box(np.array([-1, -np.inf, -2.0]), np.array([1, np.inf, 3.0]), dtype=np.float64)
    leaf, values = one(box)
    assert (leaf.name, leaf.path) == ("state", ())
    assert leaf.space == Space((3,), low=(-1, -np.inf, -2), high=(1, np.inf, 3))
    np.testing.assert_array_equal(values, sampled(box).astype(np.float32))
    full = np.finfo(np.float32).max
    assert one(spaces.Box(-full, full, (2,)))[0].space == Space((2,))
    assert one(spaces.Box(-1, 1, ()))[1].shape == (20, 1)


def test_pictures():
    leaf, values = one(spaces.Box(0, 255, (32, 40, 3), np.uint8))
    assert leaf.name == "image" and leaf.space == Space((3, 32, 40), "uint8", 0, 255)
    pictures = sampled(spaces.Box(0, 255, (32, 40, 3), np.uint8))
    np.testing.assert_array_equal(values, pictures.transpose(0, 3, 1, 2))
    assert one(spaces.Box(0, 255, (32, 40), np.uint8))[0].space.shape == (1, 32, 40)


@pytest.mark.parametrize("start", [0, -3, 5])
def test_discrete_is_one_hot(start):
    space = spaces.Discrete(4, start=start)
    leaf, values = one(space)
    assert leaf.space == Space((4,), low=0, high=1, discrete=True)
    np.testing.assert_array_equal(values.argmax(1) + start, sampled(space))
    np.testing.assert_array_equal(values.sum(1), 1)
    for outside in (start - 1, start + 4):
        with pytest.raises(ValueError, match=f"a choice is {outside}"):
            leaf.dress(np.array([start, outside]))


def test_several_choices_and_bits():
    space = spaces.MultiDiscrete([3, 2, 4])
    leaf, values = one(space)
    assert leaf.space == Space((9,), low=0, high=1)
    parts = np.split(values, [3, 5], axis=1)
    np.testing.assert_array_equal(np.stack([p.argmax(1) for p in parts], 1), sampled(space))
    bits = spaces.MultiBinary((2, 3))
    np.testing.assert_array_equal(one(bits)[1], sampled(bits))


def test_nested_names():
    space = spaces.Dict(
        {
            "arm": spaces.Dict({"pose": spaces.Box(-1, 1, (2,)), "on": spaces.Discrete(2)}),
            "pair": spaces.Tuple((spaces.Box(-1, 1, (3,)), spaces.Text(9))),
            "reward": spaces.Box(-1, 1, (1,)),
        }
    )
    found = leaves(space)
    assert {n: leaf.path for n, leaf in found.items()} == {
        "arm/pose": ("arm", "pose"),
        "arm/on": ("arm", "on"),
        "pair/0": ("pair", 0),
        "pair/1": ("pair", 1),
        "obs_reward": ("reward",),
    }
    assert found["pair/1"].space is None and found["pair/0"].space == Space((3,), low=-1, high=1)


def test_actions_become_one_vector():
    box = list(leaves(spaces.Box(-2, 2, (2, 3))).values())
    assert join_action(box) == (Space((6,), low=-2, high=2), ())
    discrete = list(leaves(spaces.Discrete(3)).values())
    assert join_action(discrete) == (Space((3,), low=0, high=1, discrete=True), ())
    both = spaces.Dict({"grip": spaces.Discrete(2), "move": spaces.Box(-1, 3, (1,))})
    space, names = join_action(list(leaves(both).values()))
    assert space == Space((3,), low=(0, 0, -1), high=(1, 1, 3))
    assert names == ("grip_0", "grip_1", "move")
    for bad in (spaces.Text(4), spaces.Box(0, 255, (32, 32, 3), np.uint8)):
        with pytest.raises(ValueError, match="no action"):
            join_action(list(leaves(bad).values()))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "Expecting"),
        ({"type": "Graph"}, "type 'Graph' is not supported"),
        ({"type": "Discrete", "n": 10**12}, "1000000000000 entries"),
        ({"type": "Discrete"}, "damaged"),
        ({"type": "Box", "dtype": "O", "shape": [2], "low": 0, "high": 1}, "no numbers"),
        ({"type": "Box", "dtype": "f4", "shape": [2], "low": [1, 2, 3], "high": 1}, "broadcast"),
        (
            {"type": "Dict", "subspaces": {"a.b": {"type": "Text"}, "a_b": {"type": "Text"}}},
            "'a_b'",
        ),
        ([], "damaged"),
    ],
)
def test_damaged_spaces_are_told(value, message):
    with pytest.raises(ValueError, match=message):
        parse_space(value if isinstance(value, str) else json.dumps(value))


def test_nesting_has_an_end():
    value = {"type": "Text"}
    for _ in range(30):
        value = {"type": "Tuple", "subspaces": [value]}
    with pytest.raises(ValueError, match="16 deep"):
        parse_space(value)


def test_the_adapter_of_environments_shows_the_same():
    """What is learned from a recording is asked of the environment under the same spaces."""
    from reverie.envs.gymnasium import from_gymnasium

    class Env(gymnasium.Env):
        observation_space = spaces.Dict(
            {
                "cam": spaces.Box(0, 255, (32, 40, 3), np.uint8),
                "choice": spaces.Discrete(3),
                "pose": spaces.Box(-1, 1, (2,), np.float64),
            }
        )
        action_space = spaces.Discrete(3)

    shown = from_gymnasium(Env()).obs
    assert {n: leaf.space for n, leaf in leaves(Env.observation_space).items()} == dict(shown)
