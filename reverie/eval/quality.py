"""All that was measured of a world model, and what it comes to: a few answers in plain words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reverie.eval.calibration import Calibration
from reverie.eval.conformal import Conformal
from reverie.eval.controllability import Controllability
from reverie.eval.detection import Detection
from reverie.eval.error_ranking import ErrorRanking
from reverie.eval.inverse import Inverse
from reverie.eval.nulls import to_null
from reverie.eval.physics_score import Physics
from reverie.eval.ranking import Ranking
from reverie.eval.returns import Comparison
from reverie.eval.score import OpenLoop, SensorError
from reverie.eval.speed import Speed
from reverie.eval.usefulness import Usefulness

Level = Literal["good", "doubt", "bad", "unknown"]


@dataclass(frozen=True)
class Answer:
    """One question about a model, answered by a measurement."""

    question: str
    level: Level
    answer: str
    """A few words."""
    why: str
    """The numbers behind it, in a sentence."""


@dataclass(frozen=True)
class Quality:
    """Everything that was measured; None is what was not, and `notes` says why."""

    prediction: OpenLoop | None = None
    calibration: Calibration | None = None
    conformal: Conformal | None = None
    error_ranking: ErrorRanking | None = None
    detections: Mapping[str, Detection] = field(default_factory=dict)
    """By what was changed."""
    controllability: Controllability | None = None
    inverse: Inverse | None = None
    physics: Physics | None = None
    usefulness: Usefulness | None = None
    speed: Speed | None = None
    readout: Mapping[str, float] = field(default_factory=dict)
    """R^2 of a fitted readout by sensor, where the model decodes nothing by itself."""
    notes: tuple[str, ...] = ()

    def answers(self) -> tuple[Answer, ...]:
        """What it comes to; a bad answer comes before a good one."""
        found = [answer for ask in _QUESTIONS for answer in ask(self)]
        order: dict[Level, int] = {"bad": 0, "doubt": 1, "good": 2, "unknown": 3}
        return tuple(sorted(found, key=lambda answer: order[answer.level]))

    def to_json(self) -> dict[str, Any]:
        """A JSON object (NaN as null)."""
        parts = {name: getattr(self, name) for name in _PARTS}
        return {
            "answers": [vars(answer) for answer in self.answers()],
            **{name: None if part is None else part.to_json() for name, part in parts.items()},
            "detections": {name: one.to_json() for name, one in self.detections.items()},
            "readout": to_null(dict(self.readout)),
            "notes": list(self.notes),
        }


_PARTS = (
    *("prediction", "calibration", "conformal", "error_ranking", "controllability", "inverse"),
    *("physics", "usefulness", "speed"),
)


def _obeys(quality: Quality) -> Iterator[Answer]:
    control = quality.controllability
    if control is None:
        return
    verdict = control.verdict
    levels: dict[str, Level] = {"obeys": "good", "weak": "doubt", "ignores the action": "bad"}
    answer = {"obeys": "yes", "weak": "hardly", "ignores the action": "no, it ignores it"}
    why = (
        f"With the actions of another episode its errors are {_times(verdict)} those with the "
        "true ones."
    )
    if verdict.answer == "cannot be told" and abs(verdict.value - 1) < 0.005:
        why = (
            "What it imagines does not depend on the action; too little of the data shows whether "
            "it should."
        )
    yield Answer(
        "Does it obey the action?",
        levels.get(verdict.answer, "unknown"),
        answer.get(verdict.answer, "cannot be told"),
        why if math.isfinite(verdict.value) else "The data does not show what an action does.",
    )


def _times(verdict: Any) -> str:
    return f"{verdict.value:.2f} ({verdict.low:.2f} to {verdict.high:.2f}) times"


def _predicts(quality: Quality) -> Iterator[Answer]:
    found = quality.prediction
    if found is None:
        return
    wins = [
        won for s in found.sensors if s.kind not in ("reward", "continues") for won in beaten(s)
    ]
    wins = wins or [won for s in found.sensors if s.kind == "reward" for won in beaten(s)]
    if not wins:
        return
    share = sum(wins) / len(wins)
    level: Level = "good" if share >= 0.8 else "doubt" if share >= 0.5 else "bad"
    yield Answer(
        "Does it predict better than guessing?",
        level,
        {"good": "yes", "doubt": "partly", "bad": "no"}[level],
        f"Nearer to the truth than the best guess at {share:.0%} of {len(wins)} sensors and "
        f"horizons, up to {found.horizon * found.dt:.3g} s ahead.",
    )


def beaten(sensor: SensorError) -> list[bool]:
    """At each horizon, whether the mean error of the model (of its mean, if there are samples) is
    below that of the best guess that needs no model."""
    metric = "mse" if sensor.kind == "image" else "rmse"
    curves = sensor.errors[metric]
    own = curves.get("model_mean", curves["model"]).mean
    guesses = [curves[who].mean for who in ("repeat", "linear") if who in curves]
    rows = zip(own, *guesses, strict=True)
    return [
        mine < min(x for x in others if math.isfinite(x))
        for mine, *others in rows
        if math.isfinite(mine) and any(map(math.isfinite, others)) and max(mine, *others) > 0
    ]


def _calibrated(quality: Quality) -> Iterator[Answer]:
    if quality.calibration is None:
        return
    verdicts = {s.name: s.verdict for s in quality.calibration.sensors}
    told = {n: v for n, v in verdicts.items() if v.answer not in ("cannot be told", "says nothing")}
    if not told:
        silent = any(v.answer == "says nothing" for v in verdicts.values())
        words = "it claims to be sure" if silent else "cannot be told"
        why = "Its samples are all alike: it says nothing about how sure it is." if silent else ""
        yield Answer(
            "Does it know how sure it may be?", "unknown", words, why or "Too few episodes."
        )
        return
    wrong = {n: v for n, v in told.items() if v.answer != "calibrated"}
    level: Level = "good" if not wrong else "doubt" if len(wrong) < len(told) else "bad"
    shown = max((wrong or told).items(), key=lambda entry: abs(entry[1].value))
    yield Answer(
        "Does it know how sure it may be?",
        level,
        "yes" if not wrong else " and ".join(sorted({v.answer for v in wrong.values()})),
        f"Calibrated in {len(told) - len(wrong)} of {len(told)} sensors; {shown[0]}: {shown[1]}.",
    )


def _ranks_errors(quality: Quality) -> Iterator[Answer]:
    if quality.error_ranking is None or not quality.error_ranking.sensors:
        return
    claims = quality.calibration.sensors if quality.calibration else ()
    if claims and all(s.verdict.answer == "says nothing" for s in claims):
        return
    middles = []
    for sensor in quality.error_ranking.sensors:
        k = len(sensor.steps) // 2
        middles.append((sensor.spearman.mean[k], sensor.spearman.low[k], sensor.name))
    known = [m for m in middles if math.isfinite(m[0]) and math.isfinite(m[1])]
    if not known:
        return
    sure = sum(low > 0 for _, low, _ in known)
    level: Level = "good" if sure == len(known) else "unknown"
    mean = sum(m for m, _, _ in known) / len(known)
    yield Answer(
        "Is it unsure where it is wrong?",
        level,
        "yes" if level == "good" else "for some sensors" if sure else "not shown",
        f"Its spread ranks its errors, surely above chance, for {sure} of {len(known)} sensors; "
        f"mean rank correlation {mean:.2f} half-way ahead. Where every future is equally "
        "uncertain there is nothing to rank.",
    )


def _notices(quality: Quality) -> Iterator[Answer]:
    for change, found in quality.detections.items():
        verdict = found.verdict
        levels: dict[str, Level] = {"detects": "good", "cannot be told": "unknown"}
        yield Answer(
            f"Does it notice {change}?",
            levels.get(verdict.answer, "doubt"),
            verdict.answer,
            f"Area under the ROC curve {verdict.value:.2f} ({verdict.low:.2f} to "
            f"{verdict.high:.2f}), chance 0.5; {found.inside} and {found.outside} episodes.",
        )


def _useful(quality: Quality) -> Iterator[Answer]:
    use = quality.usefulness
    if use is None:
        return
    names = {"policy": "Is a policy learnt in it of use?", "planner": "Is planning in it of use?"}
    levels: dict[str, Level] = {"beats random": "good", "loses to random": "bad"}
    for name, beats in use.beats.items():
        compared: Comparison | None = getattr(use, name)
        assert compared is not None
        ours, theirs = compared.policy, compared.baseline
        yield Answer(
            names[name],
            levels.get(beats, "unknown"),
            beats,
            f"It earns {ours.mean:.4g} ({_span(ours.low, ours.high)}), random actions "
            f"{theirs.mean:.4g}; {ours.n} episodes.",
        )
    ranking = use.ranking
    if ranking is not None:
        told: dict[str, Level] = {"ranks policies": "good", "misleads": "bad"}
        yield Answer(
            "Does it rank policies as the real world does?",
            told.get(ranking.verdict, "unknown"),
            ranking.verdict,
            _agreement(ranking),
        )


def _agreement(ranking: Ranking) -> str:
    count, spearman = len(ranking.policies), ranking.spearman
    if not math.isfinite(spearman.value):
        return f"{count} policies, which all earn alike in it, or really."
    return (
        f"{count} policies: Spearman {spearman.value:.2f} "
        f"({spearman.low:.2f} to {spearman.high:.2f}), p {ranking.p_ranks:.2g}, MMRV "
        f"{ranking.mmrv.value:.3g} (chance {ranking.mmrv_chance:.3g})."
    )


def _span(low: float, high: float) -> str:
    return f"{low:.4g} to {high:.4g}" if math.isfinite(low + high) else "no interval"


def _fast(quality: Quality) -> Iterator[Answer]:
    speed = quality.speed
    if speed is None or speed.keeps_up is None:
        return
    yield Answer(
        "Is it fast enough for its robot?",
        "good" if speed.keeps_up else "bad",
        "yes" if speed.keeps_up else "no",
        f"99 of 100 decisions in time for {speed.control_rate:.0f} Hz; the robot asks "
        f"{1 / speed.dt:.3g} times a second; {speed.threads} threads, {speed.device}.",
    )


def _physical(quality: Quality) -> Iterator[Answer]:
    physics = quality.physics
    if physics is None:
        return
    told = [m for m in physics.measures if m.beats is not None]
    if told:
        better = sum(bool(m.beats) for m in told)
        level: Level = "good" if better == len(told) else "doubt" if better else "bad"
        yield Answer(
            "Does it keep to physics?",
            level,
            {"good": "yes", "doubt": "partly", "bad": "no"}[level],
            f"Surely better than every baseline in {better} of {len(told)} measures: "
            f"{', '.join(m.name.replace('_', ' ') for m in told if m.beats) or 'none'}.",
        )


_QUESTIONS: tuple[Callable[[Quality], Iterator[Answer]], ...] = (
    *(_obeys, _predicts, _physical, _useful, _calibrated, _ranks_errors, _notices, _fast),
)
