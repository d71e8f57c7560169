"""Data curves and adaptation: from the right episodes, found again, and never mixed up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reverie.data import EpisodeStore
from reverie.eval.sidebyside import SensorErrors, WindowErrors
from reverie.recipes.comparison_learning import (
    StoppedError,
    adapted,
    curve_of,
    data_curve,
    fresh,
    offline,
    overall,
    training_episodes,
)
from reverie.recipes.comparison_subjects import Candidate, Comparing, loaded_runs
from tests.recipes.compared import FEW, pendulums, without_simulator
from tests.recipes.conftest import tiny


def errors(kind: Any, *values: float) -> WindowErrors:
    square = np.array(values)[:, None].repeat(3, 1)
    return WindowErrors(
        {"a": SensorErrors(kind, "", square, square, 1)}, (1, 2, 3), np.arange(len(values))
    )


def whole(found: WindowErrors) -> np.ndarray:
    return overall(found, "vector")


def asked(out: Path, **changes: Any) -> Comparing:
    return replace(FEW, out=out, curve=(1, 3), updates=3, adapt=2, **changes)


def dreamer() -> Candidate:
    return without_simulator().evidence.measured[0].candidate


def test_training_episodes_are_recorded_once_and_are_others(tmp_path: Path) -> None:
    runs = loaded_runs(pendulums()[:1])
    env, config = runs[0].env, asked(tmp_path)
    place = training_episodes(runs, env, config)
    kept = EpisodeStore.open(place)
    assert len(kept.episodes()) == 3
    stamp = (place / "store.json").stat().st_mtime_ns
    assert training_episodes(runs, env, config) == place
    assert (place / "store.json").stat().st_mtime_ns == stamp
    measured = without_simulator().evidence.ground.windows.batch.obs["velocity"][:, 0].numpy()
    begun = [kept.read(e.name)["velocity"][0] for e in kept.episodes()]
    assert not np.isin(begun, measured).any()
    training_episodes(runs, env, replace(config, seed=9))
    assert json.loads((tmp_path / "curve" / "made.json").read_text())["about"]["seed"] == 9
    assert (EpisodeStore.open(place).read(kept.episodes()[0].name)["velocity"][0] != begun[0]).any()


def test_what_nobody_here_made_is_not_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "curve" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    runs = loaded_runs(pendulums()[:1])
    with pytest.raises(ValueError, match="choose another --out"):
        training_episodes(runs, runs[0].env, asked(tmp_path))
    assert mine.read_text() == "years of work"


def test_a_recording_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    runs = loaded_runs(pendulums()[:1])
    config = asked(tmp_path)
    place = training_episodes(runs, runs[0].env, config)
    said = tmp_path / "curve" / "made.json"
    said.write_text(said.read_text().replace("true", "false"))
    (place / "store.json").unlink()
    assert len(EpisodeStore.open(training_episodes(runs, runs[0].env, config)).episodes()) == 3


def test_a_fresh_model_learns_from_the_first_episodes_alone(tmp_path: Path) -> None:
    runs = loaded_runs(pendulums()[:1])
    config = asked(tmp_path)
    data = training_episodes(runs, runs[0].env, config)
    made = fresh(dreamer(), data, 1, config)
    assert made.counters["updates"] == 3 and made.recipe.data.episodes == 1
    assert made.known is not None and made.known.episodes == 1
    again = fresh(dreamer(), data, 1, config)
    assert again.counters == made.counters, "found again, not fitted again: its seconds, too"


def test_a_fit_that_was_stopped_gives_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*given: Any, **named: Any) -> Any:
        return SimpleNamespace(finished=False)

    for name in ("train", "fit"):
        monkeypatch.setattr(f"reverie.recipes.comparison_learning.{name}", stopped)
    with pytest.raises(StoppedError, match="run the same command again"):
        fresh(dreamer(), tmp_path / "store", 1, asked(tmp_path))
    with pytest.raises(StoppedError, match="run the same command again"):
        adapted(dreamer(), "motor", without_simulator().evidence.ground, asked(tmp_path))


def test_the_curve_is_measured_on_the_shared_windows(tmp_path: Path) -> None:
    runs = loaded_runs(pendulums()[:1])
    config, ground = asked(tmp_path), without_simulator().evidence.ground
    data = training_episodes(runs, runs[0].env, config)
    curve = data_curve(dreamer(), data, ground, config)
    assert curve.episodes == (1, 3) and len(curve.seconds) == 2
    assert all(low <= e <= high for e, low, high in zip(*vars(curve.error).values(), strict=True))


def test_adapting_begins_with_the_run_s_weights_and_leaves_the_run_alone(tmp_path: Path) -> None:
    evidence = without_simulator().evidence
    one, ground = dreamer(), evidence.ground
    before = {p: p.read_bytes() for p in Path(one.loaded.recipe.run).rglob("*.safetensors")}  # type: ignore[union-attr]
    still = adapted(one, "motor", ground, asked(tmp_path / "a", seed=3))
    assert still.steps == evidence.measured[0].changed["motor"].steps
    small = whole(still) / whole(evidence.measured[0].changed["motor"])
    assert np.abs(small - 1).max() < 0.5, "two updates change little; a fresh model is far off"
    assert (small != 1).any()
    assert before == {p: p.read_bytes() for p in before}
    again = adapted(one, "motor", ground, asked(tmp_path / "a", seed=3))
    assert (whole(again) == whole(still)).all()


def test_training_offline_keeps_everything_else() -> None:
    recipe = tiny(Path("runs/x"))
    made = offline(recipe.training, 50, 5_000_003)
    assert (made.updates, made.prefill.updates, made.evaluate.every) == (50, 0, 0)
    assert made.optimiser == recipe.training.optimiser and made.log.progress == "off"


def test_a_curve_is_the_root_of_the_mean_over_the_horizon() -> None:
    ground = without_simulator().evidence.ground
    found = curve_of((1, 2), [errors("vector", 4.0, 16.0), errors("vector", 1.0, 1.0)], ground)
    assert found.error.mean == pytest.approx((10**0.5, 1.0))
    assert found.error.low[1] == pytest.approx(1.0)


def test_models_that_show_nothing_are_not_judged_by_something_else() -> None:
    for kind in ("vector", "image", "reward"):
        assert overall(errors(kind, 2.0, 3.0), kind) == pytest.approx([2.0, 3.0])  # type: ignore[arg-type]
    assert np.isnan(overall(errors("reward", 2.0, 3.0), "vector")).all()
