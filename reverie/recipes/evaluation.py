"""Everything that is measured of a trained run: `reverie evaluate RUN`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reverie.data.container import write_json
from reverie.data.serial import to_json
from reverie.envs import make
from reverie.envs.changed import CHANGES, changed, possible
from reverie.eval.calibration import calibration
from reverie.eval.conformal import conformal
from reverie.eval.controllability import controllability
from reverie.eval.detection import Detection, detection
from reverie.eval.error_ranking import error_ranking
from reverie.eval.graded import Graded
from reverie.eval.inverse import inverse
from reverie.eval.openloop import openloop
from reverie.eval.quality import Quality
from reverie.eval.ranking import Ranking, ranking
from reverie.eval.returns import Returns, summarise
from reverie.eval.speed import speed
from reverie.eval.usefulness import OnFeatures, imagined_returns, real_returns, starts, usefulness
from reverie.imagine import PolicyAgent
from reverie.learn.collect import play
from reverie.learn.explore import Explorer
from reverie.recipes.evidence import SCENES, Evaluation, Part, Subject
from reverie.recipes.planning import Search, planner
from reverie.recipes.planning import subject as planned_in
from reverie.recipes.run import JUDGED, Loaded, judges
from reverie.viz.evaluation import Page, write
from reverie.viz.provenance import provenance

LEAST = 11
"""Episodes without which no conformal band of 90 % can be made and checked."""


class Evaluated(NamedTuple):
    """What came of it."""

    quality: Quality
    json: Path
    page: Path
    seconds: float


def evaluate(loaded: Loaded, config: Evaluation) -> Evaluated:
    """Measure a run; write `results/quality.json` and `evaluation.html` in it (or in `out`).

    Raises:
        ValueError: the run has several tasks; its data is in other units; it acts nowhere and no
            data is given; or it cannot denoise in so many steps.
    """
    begun = time.monotonic()
    loaded.denoise_in(config.steps)
    run = loaded.recipe.run
    place = Path(config.out) if config.out else run / "results"
    page = (place if config.out else run) / "evaluation.html"
    quality = measure(loaded, config)
    took = time.monotonic() - begun
    place.mkdir(parents=True, exist_ok=True)
    about = {
        "counters": loaded.counters,
        "config": to_json(config),
        "seconds": took,
        **provenance(),
    }
    write_json(place / "quality.json", {**about, **quality.to_json()})
    parameters = sum(p.numel() for p in loaded.learner.parameters() if p.requires_grad)
    shown = Page(
        title=loaded.recipe.env.name if loaded.known is None else loaded.recipe.data.path,
        model=f"{loaded.recipe.family}, {parameters / 1e6:.2f} M parameters",
        quality=quality,
        facts={
            "Run": str(run),
            "Trained for": ", ".join(
                f"{v:,} {k}" for k, v in loaded.counters.items() if k != "seconds"
            ),
            "Measured in": f"{took:.0f} s",
            **provenance(),
        },
        config={"evaluation": to_json(config), "recipe": to_json(loaded.recipe)},
    )
    return Evaluated(quality, place / "quality.json", write(shown, page), took)


def measure(loaded: Loaded, config: Evaluation) -> Quality:
    """All parts that are asked for and possible."""
    subject = Subject(loaded, config)
    found: dict[str, Any] = {}
    notes = subject.notes
    for part in config.parts:
        try:
            found.update(_MEASURES[part](subject))
        except _CannotError as reason:
            notes.append(str(reason))
        except ValueError as reason:  # too little data for this part; the others may have enough
            notes.append(f"The part {part} could not be measured. {reason}")
    return Quality(**found, readout=subject.readout, notes=tuple(notes))


class _CannotError(Exception):
    """A part that does not apply, with the reason."""


# ------------------------------------------------------------------ parts


def _prediction(subject: Subject) -> Mapping[str, Any]:
    with torch.no_grad(), subject.device.autocast():
        samples = min(8, subject.config.samples)
        found = openloop(subject.model, subject.windows, samples=samples, **subject.ahead)
    return {"prediction": found}


def _calibration(subject: Subject) -> Mapping[str, Any]:
    given = (subject.model, subject.windows)
    samples = subject.config.samples
    episodes = len(subject.windows.episode.unique())
    with torch.no_grad(), subject.device.autocast():
        found: dict[str, Any] = {
            "calibration": calibration(*given, samples=samples, **subject.ahead),
            "error_ranking": error_ranking(*given, samples=samples, **subject.ahead),
        }
        if episodes >= LEAST:
            found["conformal"] = conformal(*given, samples=samples, **subject.ahead)
        else:
            subject.notes.append(
                f"There are no conformal bands: {episodes} episodes are too few, {LEAST} are "
                "needed."
            )
    return found


def _control(subject: Subject) -> Mapping[str, Any]:
    given, short = (subject.model, subject.windows), {**subject.ahead}
    short["horizon"] = min(subject.horizon, 25)
    with torch.no_grad(), subject.device.autocast():
        found: dict[str, Any] = {"controllability": controllability(*given, samples=2, **short)}
        if "obs" in subject.model.spec.provides:
            found["inverse"] = inverse(*given, samples=2, **short)
    return found


def _change(subject: Subject) -> Mapping[str, Any]:
    """Whether the model is surprised by a changed robot, under the same policies."""
    if not subject.played:
        raise _CannotError(
            "Changed robots were not tried: the model was measured on recorded data."
        )
    if "obs" not in subject.model.spec.provides:
        raise _CannotError(
            "Changed robots were not tried: the model shows nothing to compare with."
        )
    env = make(subject.env)
    changes = possible(env)
    env.close()
    agent = _agent(subject)
    half = len(subject.episodes) // 2
    usual, inside = (
        subject.cut(part, subject.config.seed)
        for part in (subject.episodes[:half], subject.episodes[half:])
    )
    found: dict[str, Detection] = {}
    for change in changes:
        rows = subject.record(agent, changed(subject.env, change), 10, 1)
        outside = subject.cut([r for each in rows for r in each], subject.config.seed)
        with torch.no_grad(), subject.device.autocast(), suppress(ValueError):
            found[CHANGES[change]] = detection(
                subject.model,
                usual,
                inside,
                outside,
                generator=subject.device.generator(subject.config.seed),
                seed=subject.config.seed,
            )
    return {"detections": found}


def _agent(subject: Subject) -> Any:
    """The run's policy, straying now and then, so that it is asked about more than its habits."""
    policy = subject.loaded.learner.policy
    agent = PolicyAgent(subject.loaded.model, policy) if policy else None
    return Explorer(agent, subject.action, random=0.3, hold=5, seed=subject.config.seed)


def _physics(subject: Subject) -> Mapping[str, Any]:
    """On scenes whose truth is known."""
    name = subject.env.name
    if not name.startswith(SCENES) or not subject.played:
        raise _CannotError(
            "Physics was not measured: the truth behind an environment is known for scenes alone; "
            "train on one, such as --env scene:projectile."
        )
    from reverie.envs.scenes.impossible import impossible
    from reverie.eval.physics import physics

    task = name.removeprefix(SCENES)
    size, repeat = subject.env.size, subject.env.repeat
    films = [impossible(task, seed, size=size, repeat=repeat) for seed in range(10)]
    with torch.no_grad(), subject.device.autocast():
        found = physics(
            subject.model, subject.windows, task, samples=4, scenes=films, **subject.ahead
        )
    return {"physics": found}


def _use(subject: Subject) -> Mapping[str, Any]:
    if not subject.acts:
        raise _CannotError("Use was not measured: the run learnt from recordings and acts nowhere.")
    config, loaded = subject.config, subject.loaded
    dice = Explorer(None, subject.action, seed=config.seed)
    planned = _planned(subject) if config.planned else None
    found = usefulness(
        random=_returns(subject, dice, config.judged),
        planner=planned,
        policy=_returns(subject, loaded.agent, config.judged),
        ranking=_ranking(subject),
        seed=config.seed,
    )
    return {"usefulness": found}


def _returns(subject: Subject, agent: Any, episodes: int) -> Returns:
    with judges(subject.env, episodes, JUDGED) as envs:
        played = play(agent, envs, episodes, device=subject.device, seed=JUDGED)
    return summarise(played.returns.tolist(), seed=JUDGED)


def _planned(subject: Subject) -> Returns | None:
    """A quick planner in the run's model, where its own agent is none already; without proposals
    of the policy, which would act well whatever the model says."""
    if hasattr(subject.loaded.recipe, "plan") or subject.action.discrete:
        return None
    what = planned_in(str(subject.loaded.recipe.run))
    agent = planner(what, Search(planner="icem", samples=64, iterations=3, proposals=0))
    return _returns(subject, agent, subject.config.planned)


def _ranking(subject: Subject) -> Ranking | None:
    """Graded policies, imagined and played over as many decisions."""
    loaded, config = subject.loaded, subject.config
    policy = loaded.learner.policy
    if not subject.played or policy is None or "reward" not in loaded.model.spec.provides:
        return None
    shortest = min(len(rows["reward"]) for each in subject.played for rows in each)
    begun = [rows for each in subject.played[:: max(1, len(subject.played) // 8)] for rows in each]
    graded = Graded(OnFeatures(policy), subject.action, subject.grades, config.seed)
    cut = starts(begun)
    with torch.no_grad(), subject.device.autocast():
        dreamt = imagined_returns(
            loaded.model,
            graded,
            cut._replace(batch=subject.device.put(cut.batch)),
            horizon=shortest - 1,
            copies=len(subject.grades),
            read="features",
            generator=subject.device.generator(config.seed),
        )
    names = [grade.name for grade in subject.grades]
    real = {
        n: real_returns(rows, shortest - 1) for n, rows in zip(names, subject.played, strict=True)
    }
    imagined = dreamt.scores(names)
    return ranking(imagined, {n: r.tolist() for n, r in real.items()}, seed=config.seed)


def _speed(subject: Subject) -> Mapping[str, Any]:
    first = {n: v[:1, 0] for n, v in subject.windows.batch.obs.items()}
    agent = subject.loaded.agent if subject.acts else None
    with torch.no_grad(), subject.device.autocast():
        return {"speed": speed(subject.loaded.model, agent, obs=first, limit=8.0)}


_MEASURES: Mapping[Part, Callable[[Subject], Mapping[str, Any]]] = {
    "prediction": _prediction,
    "calibration": _calibration,
    "control": _control,
    "change": _change,
    "physics": _physics,
    "use": _use,
    "speed": _speed,
}
