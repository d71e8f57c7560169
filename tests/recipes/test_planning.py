"""Planning in what a run has learnt, and in a simulator."""

import json

import pytest

from reverie.plan import CEM, MPPI, Gradient, Hybrid
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.planning import Search, optimiser, plan, planner, subject

QUICK = {"samples": 20, "iterations": 1, "proposals": 3}


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "gradient", "hybrid"])
def test_every_planner_plays_a_trained_run(trained: DreamerRecipe, name, tmp_path) -> None:
    what = subject(str(trained.run))
    search = Search(planner=name, **QUICK)
    result = plan(what, search, tmp_path, episodes=1, decisions=4, film=0)
    assert result.timing.decisions >= 4
    assert result.actor is not None
    kept = json.loads((tmp_path / f"plan-{name}.json").read_text())
    assert kept["planner"]["values"] == list(result.planner.values)
    assert kept["search"]["planner"] == name
    assert result.page is not None and "toy:pendulum" in result.page.read_text()


def test_a_run_lends_its_policy_value_and_discount(trained: DreamerRecipe) -> None:
    made = planner(subject(str(trained.run)), Search())
    assert made.policy is not None and made.cost.terminal is not None
    assert made.config.discount == trained.behaviour.returns.discount
    assert made.config.horizon == 6
    bare = planner(subject(str(trained.run)), Search(proposals=0, terminal=False))
    assert bare.cost.terminal is None and bare.config.proposals == 0
    assert bare.config.horizon == 12


def test_the_simulator_can_be_planned_on_alone(tmp_path) -> None:
    what = subject("dmc:cartpole_swingup", repeat=4)
    search = Search(samples=16, iterations=1, horizon=5)
    result = plan(what, search, tmp_path, episodes=1, decisions=3, film=3)
    assert result.actor is None
    assert result.page is not None
    assert "the exact simulator" in result.page.read_text()


def test_names_and_sizes_make_the_optimiser() -> None:
    assert optimiser(Search("cem", samples=100), 1) == CEM(samples=100, elites=10)
    assert optimiser(Search("mppi"), 25).iterations == 8
    assert isinstance(optimiser(Search("mppi", iterations=2), 1), MPPI)
    assert optimiser(Search("gradient", samples=3, iterations=7), 1) == Gradient(3, 7)
    assert isinstance(optimiser(Search("hybrid"), 1), Hybrid)


def test_what_is_neither_a_run_nor_an_environment_is_said() -> None:
    with pytest.raises(ValueError, match="neither the directory of a run nor an environment"):
        subject("runs/nowhere")
