"""What a trained run is worth: evaluation, prediction, film and report."""

from __future__ import annotations

from reverie.recipes.dreamer import DreamerRecipe
from reverie.recipes.run import load
from reverie.recipes.study import evaluate, evaluate_each, film, predict, report, results


def test_evaluation_is_deterministic_and_kept(trained: DreamerRecipe) -> None:
    loaded = load(trained.run)
    first, second = evaluate(loaded, episodes=2), evaluate(load(trained.run), episodes=2)
    assert first == second
    assert results(trained.run)["evaluation"]["policy"]["values"] == list(first.policy.values)
    assert evaluate_each(loaded, episodes=2) == {"toy:pendulum": first}


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
