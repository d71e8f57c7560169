"""What a model is worth on recorded episodes: its predictions, a film and a report.

As `recipes.study`, for runs that act nowhere, and for any run beside episodes that are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reverie.data.serial import to_json
from reverie.eval.score import OpenLoop
from reverie.learn.log import read
from reverie.recipes.data import DataConfig
from reverie.recipes.evidence import LEARNT, acts, recorded
from reverie.recipes.run import Loaded
from reverie.recipes.study import openloop_on
from reverie.viz.film import Film, replay
from reverie.viz.provenance import provenance
from reverie.viz.report import Report, write


def on_recorded(loaded: Loaded, data: DataConfig) -> bool:
    """Whether a run is measured on recorded episodes: it acts nowhere, or some are given."""
    return bool(data.path) or not acts(loaded)


def predict(
    loaded: Loaded,
    data: DataConfig,
    *,
    episodes: int = 32,
    observed: int = 20,
    horizon: int = 50,
    samples: int = 8,
    windows: int = 64,
    seed: int = 2_000_003,
) -> OpenLoop:
    """Errors against horizon on recorded episodes; written to `results/prediction.json`.

    Args:
        loaded: the run.
        data: the episodes; those that it learnt from where it names none.
        episodes: how many of them, chosen by the seed.
        observed: rows the model watches.
        horizon: decisions it then imagines; fewer where the longest episode is shorter.
        samples: draws of its noise.
        windows: stretches that are predicted, at most.
        seed: of the choice and of the noise.

    Raises:
        ValueError: the episodes are too short, or not such as the model reads.
    """
    rows = recorded(loaded, data, episodes, seed)
    ahead = {"observed": observed, "horizon": horizon, "samples": samples, "windows": windows}
    return openloop_on(loaded, rows, {"data": _place(loaded, data)}, seed=seed, **ahead)


def film(
    loaded: Loaded,
    data: DataConfig,
    *,
    observed: int = 10,
    horizon: int = 75,
    seed: int = 3_000_003,
) -> Film:
    """One recorded episode, chosen by the seed, and the same stretch imagined from its first
    rows."""
    (rows,) = recorded(loaded, data, 1, seed)
    with torch.no_grad():
        return replay(
            rows,
            loaded.model,
            name=_place(loaded, data),
            device=loaded.device,
            observed=observed,
            horizon=horizon,
            generator=loaded.device.generator(seed),
        )


def report(loaded: Loaded, data: DataConfig, out: Path | None = None) -> Path:
    """Predict, film, and write one self-contained page; `report.html` in the run. Nobody acts, so
    that no return is judged."""
    recipe, place = loaded.recipe, _place(loaded, data)
    parameters = sum(p.numel() for p in loaded.learner.parameters() if p.requires_grad)
    notes = ["It was measured on recorded episodes: nobody acted, and no return was earned."]
    notes += [] if data.path else [LEARNT]
    page = Report(
        task=place,
        family=f"{recipe.family}, {parameters / 1e6:.2f} M parameters",
        counters=loaded.counters,
        log=read(recipe.run / "log.jsonl"),
        openloop=predict(loaded, data),
        film=film(loaded, data),
        facts={"Measured on": place, **_learnt(loaded), **provenance()},
        config=to_json(recipe),
        notes=tuple(notes),
    )
    return write(page, out or recipe.run / "report.html")


def _learnt(loaded: Loaded) -> Mapping[str, str]:
    recipe: Any = loaded.recipe
    found = {"Learnt from": recipe.data.path} if recipe.data.path else {}
    return {**found, "Seed": str(recipe.training.seed)}


def _place(loaded: Loaded, data: DataConfig) -> str:
    place: str = data.path or loaded.recipe.data.path
    return place
