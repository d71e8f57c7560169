"""Environments by name: found, suggested, listed."""

import sys
from importlib.util import find_spec

import pytest

from reverie.envs import EnvConfig, available, make


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("walker_walk", ["dmc:walker_walk"]),
        ("Pendulum-v1", ["gym:Pendulum-v1"]),
        ("toy:pendullum", ["toy:pendulum"]),
        ("dm:walker_walk", ["dmc:walker_walk"]),
        ("atari:zzzzzzzzzzz", ["dmc:...", "gym:...", "toy:...", "reverie envs"]),
    ],
)
def test_an_unknown_name_gets_suggestions(name, words):
    with pytest.raises(ValueError, match="unknown") as error:
        make(name)
    assert name in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_option_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'repeats'.*repeat, pixels"):
        make("toy:pendulum", repeats=2)
    with pytest.raises(ValueError, match="no camera 'side'"):
        make("toy:pendulum", camera="side")
    with pytest.raises(ValueError, match="draws itself"):
        make("gym:Pendulum-v1", camera="side")


def test_a_config_and_options_say_the_same():
    config = EnvConfig("toy:pendulum", repeat=4, pixels=True, size=(16, 24))
    one, two = make(config), make("toy:pendulum", repeat=4, pixels=True, size=(16, 24))
    assert one.obs == two.obs
    assert one.dt == two.dt == pytest.approx(0.2)
    assert make(config, repeat=1).repeat == 1
    assert make(config).obs["image"].shape == (3, 16, 24)


def test_families_are_listed_with_their_tasks():
    families = {family.name: family for family in available()}
    assert set(families) == {"toy", "scene", "dmc", "gym", "crafter", "scenario"}
    assert families["toy"].names[:2] == ("toy:pendulum", "toy:balance")
    assert families["toy"].names[2:] == ("toy:room", "toy:tabletop")
    crafter = families.pop("crafter")  # not in the developers' extra
    assert crafter.installed == (find_spec("crafter") is not None)
    assert crafter.names == (("crafter:reward", "crafter:noreward") if crafter.installed else ())
    assert "dmc:walker_walk" in families["dmc"].names
    assert "gym:CartPole-v1" in families["gym"].names
    assert "gym:CartPole-v0" not in families["gym"].names
    assert all(family.installed for family in families.values())


def test_what_is_not_installed_is_listed_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "dm_control", None)
    family = next(family for family in available() if family.name == "dmc")
    assert not family.installed
    assert family.names == ()
    assert family.install == 'pip install "reverie[dmc]"'
    with pytest.raises(ValueError, match="toy:pendulum"):  # the list of the others still helps
        make("toy:pendulm")
