"""What a trained run is worth: evaluation, prediction, film and report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reverie.envs.toy import Pendulum
from reverie.eval.returns import RandomAgent
from reverie.learn.collect import play
from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import JUDGED, judges, load
from reverie.recipes.study import (
    RANDOM_EPISODES,
    evaluate,
    evaluate_each,
    film,
    predict,
    report,
    results,
)


def test_evaluation_is_deterministic_and_kept(trained: DreamerRecipe) -> None:
    loaded = load(trained.run)
    first, second = evaluate(loaded, episodes=2), evaluate(load(trained.run), episodes=2)
    assert first == second
    assert results(trained.run)["evaluation"]["policy"]["values"] == list(first.policy.values)
    assert evaluate_each(loaded, episodes=2) == {"toy:pendulum": first}


def test_random_actions_have_more_episodes(trained: DreamerRecipe) -> None:
    """A hundred, the policy's among them: of the same starts."""
    loaded = load(trained.run)
    judged = evaluate(loaded, episodes=7)
    assert (judged.policy.n, judged.baseline.n) == (7, RANDOM_EPISODES)
    dice, starts = RandomAgent(loaded.model.spec.action, JUDGED), []
    for count in (7, RANDOM_EPISODES):
        with judges(loaded.env, count) as envs:
            played = play(dice, envs, count, device=loaded.device, record=True)
        starts.append({rows["orientation"][0].tobytes() for rows in played.rows})
    assert starts[0] < starts[1]
    assert judged.baseline.values == tuple(played.returns)


def test_nothing_is_drawn_for_random_actions(
    trained: DreamerRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dice do not look: only the two episodes of the policy, of 60 decisions, have pictures."""
    loaded, drawn, picture = load(trained.run), [], Pendulum.picture
    blind = evaluate(loaded, episodes=2)

    def counted(pendulum: Pendulum, height: int, width: int) -> np.ndarray:
        drawn.append(height)
        return picture(pendulum, height, width)

    monkeypatch.setattr(Pendulum, "picture", counted)
    env = replace(trained.env, pixels=True, with_state=True)
    seeing = evaluate(replace(loaded, recipe=replace(trained, env=env)), episodes=2)
    assert seeing == blind
    assert len(drawn) == 2 * 61


def test_prediction_and_report(trained: DreamerRecipe) -> None:
    loaded = load(trained.run)
    errors = predict(loaded, episodes=2, horizon=10, samples=2)
    assert {s.name for s in errors.sensors} == {*loaded.model.spec.obs, "reward", "continues"}
    page = report(loaded, episodes=2)
    text = page.read_text()
    assert page == trained.run / "report.html"
    assert "toy:pendulum" in text
    assert 'src="http' not in text


def test_a_film_shows_the_rows_watched_and_imagined(trained: DreamerRecipe) -> None:
    shot = film(load(trained.run), observed=5, horizon=10)
    assert shot.observed == 5
    assert shot.rows == 15
