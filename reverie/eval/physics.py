r"""Does the model obey physics? Its predictions of scenes whose truth is known (envs/scenes).

The model filters the first C rows of a window, then imagines H decisions with the actions that
were really taken, as in `openloop`. From what it predicts, its "state" or the objects in its
"image", follow for each object its place and velocity, and for the whole scene energy, momentum and
overlap:

| measure | of | what |
|---|---|---|
| `position_error` | both | distance from the true place, mean over objects [m] |
| `velocity_error` | both | the same of velocities [m/s] |
| `angle_error` | state | of boxes that turn [rad] |
| `energy_error` | both | `\|E - E_true\|` over the mean of E_true |
| `energy_gain` | both | `E - E_true` over the same: with its sign, so that creation is above 0 |
| `momentum_error` | both | `\|P - P_true\|` over the mean of `sum m \|v\|` |
| `penetration` | both | the deepest overlap of two objects, or of one with a wall [m] |
| `permanence` | image | share of objects whose area is right within a factor of 2 |
| `spatial_iou`, `spatiotemporal_iou`, `weighted_iou` | image | see physics_motion |
| `..._relative` | image | the same over that of a second take of the scene |

Agreement of motion should be 1 (above 1 where it is nearer than a second take). Penetration should
be 0 and permanence 1; repeating the last picture achieves both, so that they have no baseline to
beat.

Velocities of objects found in pictures are finite differences, and are compared with those of the
true places; energy is without that of turning there, and overlap is left out where boxes turn. An
object that is lost stays where it was seen last. The predictor `real` says what the tracker itself
costs.

Legend: `N` windows, `K` samples, `S` predicted rows, `C` observed rows, `n` objects, `D` entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from reverie.core import tree
from reverie.core.model import Obs, WorldModel
from reverie.envs.scenes import Pair, find
from reverie.eval.interval import Bounds
from reverie.eval.physics_motion import SCORES
from reverie.eval.physics_score import Better, Measure, Physics, ratio, summary
from reverie.eval.physics_surprise import Plausibility, one_step_surprise, plausibility
from reverie.eval.physics_values import (
    Scales,
    Values,
    array,
    from_images,
    from_state,
    recorded,
    second_takes,
)
from reverie.eval.predict import predict
from reverie.eval.windows import Windows

Model = WorldModel[Any, Any]
_SENSORS = ("state", "image")
_FORM: dict[str, tuple[str, Better, tuple[str, ...]]] = {
    "position_error": ("m", "lower", ("repeat", "linear")),
    "velocity_error": ("m/s", "lower", ("repeat", "linear")),
    "angle_error": ("rad", "lower", ("repeat", "linear")),
    "energy_error": ("1", "lower", ("repeat", "linear")),
    "energy_gain": ("1", "lower", ()),
    "momentum_error": ("1", "lower", ("repeat", "linear")),
    "penetration": ("m", "lower", ()),
    "permanence": ("1", "higher", ()),
    **dict.fromkeys(SCORES, ("1", "higher", ("repeat",))),
}
"""Unit, direction and baselines of each measure."""


def physics(
    model: Model,
    windows: Windows,
    task: str,
    *,
    observed: int,
    horizon: int,
    samples: int = 1,
    context: Obs | None = None,
    scenes: Sequence[Sequence[Pair]] = (),
    spread: float = 0.05,
    at_once: int = 16,
    generator: Generator | None = None,
    seed: int = 0,
) -> Physics:
    """The measures of the table above against horizon, beside the baselines, with intervals.

    Args:
        model: any world model that predicts "state" or "image" of a scene, or both.
        windows: what really happened, `observed + horizon` rows or more each, with the scene's
            "state" and "constants" (record with pixels and with_state).
        task: "projectile", "scene:projectile-out", ...
        observed: C, rows the model filters first; with one alone, objects in images have no
            velocity that `linear` could keep.
        horizon: H, decisions it then imagines.
        samples: K, draws of the noise; errors are those of one sample, on average.
        context: what is constant in an episode, `[N, ...]`, where the windows do not bring it.
        scenes: pairs of possible and impossible films, `[impossible(task, s) for s in seeds]`;
            without them there is no `plausibility`.
        spread: relative, of the second takes (`envs.scenes.retake`).
        at_once: windows predicted together; lower it where images do not fit in memory.
        generator: of the noise.
        seed: of the bootstrap and of the second takes.

    Raises:
        ValueError: the task is unknown, the model predicts neither sensor, or the windows lack
            what the truth is made of. Nothing is guessed where there is no truth: environments
            without scenes have the functions on arrays, of `physics_track`, `physics_motion`,
            `physics_surprise`, and `kinetic`, `potential`, `momentum` of `envs.scenes.truth`.
    """
    name = task.removeprefix("scene:")
    scene, _ = find(name)
    sensors = _sensors(model, windows, name)
    found: dict[str, list[tuple[Values, Scales]]] = {sensor: [] for sensor in sensors}
    for chosen in torch.arange(len(windows.episode)).split(at_once):
        span = slice(int(chosen[0]), int(chosen[-1]) + 1)
        batch = tree.select(windows.batch, span)
        prediction = predict(
            model,
            batch,
            observed=observed,
            horizon=horizon,
            samples=samples,
            context=None if context is None else tree.select(dict(context), span),
            generator=generator,
        )
        known = recorded(name, scene, batch, prediction.steps, observed, model.spec.dt)
        if "state" in sensors:
            found["state"].append(from_state(known, array(prediction.obs["state"])))
        if "image" in sensors:
            takes = second_takes(known, batch, observed, horizon, spread, seed + span.start)
            found["image"].append(from_images(known, batch, prediction, observed, takes))
    groups, steps = windows.episode.cpu().numpy(), prediction.steps
    return Physics(
        task=name,
        measures=tuple(m for s in sensors for m in _summaries(found[s], s, steps, groups, seed)),
        observed=observed,
        horizon=horizon,
        samples=samples,
        windows=len(groups),
        episodes=len(np.unique(groups)),
        dt=model.spec.dt,
        plausibility=_plausibility(model, sensors[-1], scenes, windows, seed),
    )


def _plausibility(
    model: Model, sensor: str, scenes: Sequence[Sequence[Pair]], windows: Windows, seed: int
) -> Plausibility | None:
    """Where there are films, on the device of the windows."""
    if not scenes:
        return None
    device = windows.batch.action.device
    return plausibility(one_step_surprise(model, sensor, seed=seed, device=device), scenes)


def _sensors(model: Model, windows: Windows, name: str) -> list[str]:
    """Those that can be judged, or an error that says what is missing."""
    model.spec.require("obs")
    sensors = [s for s in _SENSORS if s in model.spec.obs]
    if not sensors:
        raise ValueError(
            f"Physics is judged by a predicted 'state' or 'image'; the model predicts "
            f"{', '.join(model.spec.obs)}."
        )
    obs = windows.batch.obs
    lacking = [key for key in ("state", "constants", *sensors) if key not in obs]
    if lacking:
        raise ValueError(
            f"The windows lack {', '.join(dict.fromkeys(lacking))} of scene {name!r}, from which "
            "its truth follows; record the scene with pixels and with_state. "
            f"They have {', '.join(obs)}."
        )
    return sensors


def _summaries(
    parts: Sequence[tuple[Values, Scales]],
    sensor: str,
    steps: tuple[int, ...],
    groups: NDArray[np.int64],
    seed: int,
) -> list[Measure]:
    """Everything about one sensor, averaged over the windows."""
    rows = sum(scales.rows for _, scales in parts)
    scale = {
        "energy": sum(scales.energy for _, scales in parts) / rows,
        "momentum": sum(scales.momentum for _, scales in parts) / rows,
    }
    measures = []
    for name in parts[0][0]:
        unit, better, baselines = _FORM[name]
        size = scale.get(name.partition("_")[0], 1.0)
        values = {
            who: np.concatenate([v[name][who] for v, _ in parts]) / (size if size else np.nan)
            for who in parts[0][0][name]
        }
        over = steps if name not in SCORES else steps[-1:]
        measures.append(summary(name, sensor, unit, better, over, values, baselines, groups, seed))
        if name in SCORES:
            relative: dict[str, Bounds] = {
                who: ratio(values[who][:, 0], values["take"][:, 0], groups, seed)
                for who in ("model", "repeat")
            }
            measures.append(
                Measure(f"{name}_relative", sensor, "1", "higher", over, {}, relative, {})
            )
    return measures
