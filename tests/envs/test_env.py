"""What is checked of every row and every action."""

import numpy as np
import pytest

from reverie.core.spec import Space
from reverie.envs import Adapter, Env, EnvConfig, EnvError, Row, make
from reverie.envs.env import check_action, check_obs, check_row, check_spaces

SPACES = {"velocity": Space((2,)), "image": Space((3, 4, 5), "uint8", 0, 255)}


def obs(velocity=(1.0, 2.0), image=None):
    picture = np.zeros((3, 4, 5), np.uint8) if image is None else image
    return {"velocity": np.array(velocity), "image": picture}


def test_rows_are_copied_in_their_declared_types():
    given = obs()
    checked = check_obs("robot", SPACES, given, 0)
    assert checked["velocity"].dtype == np.float32
    assert checked["image"].dtype == np.uint8
    given["image"][:] = 9
    assert checked["image"].max() == 0


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (obs((1.0, np.nan)), ["robot", "'velocity'", "decision 7", "entry 1", "nan", "finite"]),
        (obs((np.inf, 0.0)), ["'velocity'", "inf", "entry 0"]),
        (obs((1e300, 0.0)), ["'velocity'", "inf"]),
        (obs((1.0,)), ["'velocity'", "(1,)", "(2,)"]),
        (obs(image=np.zeros((3, 4, 5))), ["'image'", "float64", "uint8"]),
        ({"velocity": np.zeros(2)}, ["'image'", "missing", "decision 7"]),
    ],
)
def test_a_broken_observation_names_key_entry_decision_and_environment(bad, words):
    with pytest.raises(EnvError) as error:
        check_obs("robot", SPACES, bad, 7)
    for word in words:
        assert word in str(error.value)


def test_a_broken_reward_names_decision_and_environment():
    with pytest.raises(EnvError, match="robot: the reward at decision 3 of the episode is nan"):
        check_row("robot", SPACES, Row(obs(), float("nan"), False, False, False), 3)


def test_terminated_implies_last():
    row = check_row("robot", SPACES, Row(obs(), 0.0, False, False, True), 3)
    assert row.last
    assert row.terminated


def test_a_mask_of_presence_passes():
    checked = check_obs("robot", SPACES, {**obs(), "image.present": False}, 1)
    assert checked["image.present"].dtype == bool
    assert checked["image.present"].shape == ()


@pytest.mark.parametrize("action", [np.zeros(3), np.zeros((1, 2)), 1])
def test_an_action_of_the_wrong_shape_says_what_was_expected(action):
    with pytest.raises(ValueError, match=r"robot: the action of decision 4 .* expected \(2,\)"):
        check_action("robot", Space((2,)), action, 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_names_its_entry(value):
    with pytest.raises(ValueError, match="robot: entry 1 of the action of decision 4"):
        check_action("robot", Space((2,)), [0.0, value], 4)


@pytest.mark.parametrize("name", ["action", "reward", "first", "last", "terminated", "a.b", ""])
def test_names_that_the_stored_rows_need_are_refused(name):
    with pytest.raises(ValueError, match="may not be called"):
        check_spaces("robot", {name: Space((1,))}, Space((1,)))


def test_an_environment_without_observations_is_refused():
    with pytest.raises(ValueError, match="observes nothing"):
        check_spaces("robot", {}, Space((1,)))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"repeat": 0}, "repeat"),
        ({"size": (64, 0)}, "size"),
        ({"quality": "best"}, "quality"),
        ({"max_decisions": -1}, "max_decisions"),
        ({"with_state": True}, "pixels"),
    ],
)
def test_an_impossible_config_is_refused(options, word):
    with pytest.raises(ValueError, match=word):
        EnvConfig(**options)


def test_every_field_of_the_config_has_a_help_text(capsys):
    import tyro

    with pytest.raises(SystemExit):
        tyro.cli(EnvConfig, args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in ("the action is held", "camera picture", "Truncate episodes", "Height and width"):
        assert words in text


def test_float64_is_kept_and_must_be_finite():
    spaces = {"exact": Space((1,), "float64")}
    checked = check_obs("robot", spaces, {"exact": [1e300]}, 0)
    assert checked["exact"].dtype == np.float64
    assert checked["exact"][0] == 1e300
    with pytest.raises(EnvError, match="'exact' at the reset is nan"):
        check_obs("robot", spaces, {"exact": [np.nan]}, 0)


def test_the_built_in_environments_are_environments():
    for name in ("toy:pendulum", "toy:balance"):
        env = make(name)
        assert isinstance(env, Env)
        assert isinstance(env, Adapter)
        assert env.name == name
