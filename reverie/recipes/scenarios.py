"""Training scenarios of simulated worlds: found, played, shown, exported, and checked.

    reverie scenario list
    reverie scenario new push --seed 3 --difficulty 0.5 --out push.json
    reverie scenario show push.json
    reverie scenario export push.json --out push/
    reverie scenario check push --seeds 20

In Python, `environment("push.json")` is a Gymnasium environment, `vector("push.json", 64)` its
vectorised form, and `procedural("push")` one that draws a new scenario for each episode. Learners
name one as `--env scenario:push`, `scenario:push-3` or `scenario:path/to.json`.

Legend: `T` decisions, `A` action.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.data.container import write_json
from reverie.envs import Env, EnvConfig, Plugin, adapt
from reverie.envs.as_gymnasium import as_env, as_procedural, as_vector
from reverie.envs.play import Episodes, ModelSimulator
from reverie.models.physics import Physics, PhysicsState
from reverie.models.physics import scenarios as kinds
from reverie.models.physics.scenarios import KINDS, Scenario, Scene
from reverie.physics.picture import Viewer, items
from reverie.physics.shapes import Balls, Mesh
from reverie.viz import video
from reverie.viz.provenance import provenance

DIFFICULTY = 0.5
_NAME = re.compile(r"(?P<kind>[a-z_]+)(-(?P<seed>\d+))?")


def find(name: str | Path | Scenario, difficulty: float = DIFFICULTY) -> Scenario:
    """A scenario by its file ("push.json"), its kind ("push") or kind and seed ("push-3").

    Raises:
        ValueError: there is no such file or kind.
    """
    if isinstance(name, Scenario):
        return name
    if Path(name).suffix == ".json":
        return kinds.load(name)
    match = _NAME.fullmatch(str(name))
    if match is None:
        raise ValueError(
            f"{str(name)!r} is no scenario; give a file (push.json), a kind (push) or a kind and "
            f"a seed (push-3). Kinds are {', '.join(KINDS)}."
        )
    return kinds.draw(match["kind"], int(match["seed"] or 0), difficulty)


@dataclass(frozen=True, eq=False)
class Playground:
    """A scenario made ready to be played."""

    scenario: Scenario
    scene: Scene
    model: Physics
    viewers: dict[tuple[int, int], Viewer] = field(default_factory=dict)
    """Cameras, by the size of their pictures."""

    def begin(self, batch: int, generator: Generator | None = None) -> PhysicsState:
        """The start of B episodes; without a generator as the scenario says, else with goals and
        factors drawn anew."""
        draws = kinds.noise(self.scene, batch, generator) if generator else None
        return kinds.begin(self.model, self.scene, batch, draws)

    def success(self, state: PhysicsState) -> Tensor:
        """bool `[B]`."""
        return self.scene.task.success(state.world, state.context)

    def picture(self, state: PhysicsState, height: int, width: int) -> NDArray[np.uint8]:
        """`[B, height, width, 3]`; goals that are places are marked."""
        return self.viewer(height, width)(state.world, self.places(state))

    def places(self, state: PhysicsState) -> Tensor | None:
        """Goals that are places, `[B, M, 3]`."""
        found = [x for x in state.context.values() if x.shape[1:] == (3,)]
        return torch.stack(found, 1) if found else None

    def viewer(self, height: int, width: int) -> Viewer:
        """The camera of the scene."""
        size = height, width
        if size not in self.viewers:
            self.viewers[size] = Viewer(self.scene.world, size, *self.scene.view)
        return self.viewers[size]

    def episodes(self, observe: Sequence[str] = ("features",)) -> Episodes:
        """For `reverie.envs.play`."""
        limit = self.scene.limit
        return Episodes(self.begin, limit, self.success, self.picture, tuple(observe))


def playground(name: str | Path | Scenario, image: int = 0) -> Playground:
    """The scenario with its world model; `image` is the side of the picture it senses [px]."""
    scenario = find(name)
    scene = kinds.scene(scenario)
    return Playground(scenario, scene, kinds.world_model(scene, image=image))


# ------------------------------------------------------------------ environments


def environment(name: str | Path | Scenario, observe: Sequence[str] = ("features",)) -> Any:
    """A `gymnasium.Env` of one scenario; goals and factors are drawn anew in each episode.

    `observe` names what is seen: "features", or what the world model senses ("state",
    "keypoints", "image" of 64 pixels).
    """
    made = playground(name, 64 if "image" in observe else 0)
    return as_env(made.model, made.episodes(observe))


def vector(name: str | Path | Scenario, count: int, observe: Sequence[str] = ("features",)) -> Any:
    """A `gymnasium.vector.VectorEnv`: so many episodes of one scenario, in one batch."""
    made = playground(name, 64 if "image" in observe else 0)
    return as_vector(made.model, made.episodes(observe), count)


def procedural(
    kind: str, difficulty: float = DIFFICULTY, observe: Sequence[str] = ("features",)
) -> Any:
    """A `gymnasium.Env` whose every episode is a new scenario, drawn from the episode's seed."""

    def fresh(seed: int) -> tuple[Any, Episodes]:
        made = playground(kinds.draw(kind, seed, difficulty), 64 if "image" in observe else 0)
        return made.model, made.episodes(observe)

    return as_procedural(fresh)


def _make(task: str, config: EnvConfig) -> Env:
    made = playground(task)
    return adapt(ModelSimulator(config.name, made.model, made.episodes()), config)


PLUGIN = Plugin("robot tasks in simulated worlds, from a seed", lambda: tuple(KINDS), _make)
"""For `reverie.envs.make("scenario:...")`; named in the package's entry points."""


# ------------------------------------------------------------------ shown and exported


def solution(made: Playground) -> Tensor | None:
    """The plan `[T, A]` by construction, where the kind has one."""
    plan = KINDS[made.scenario.kind].plan
    if plan is None:
        return None
    return plan(made.model, made.scenario.numbers).detach()


@torch.no_grad()
def carry_out(made: Playground, plan: Tensor) -> tuple[list[PhysicsState], Tensor, bool]:
    """States of a plan `[T, A]` from the start (T + 1 of them), rewards `[T]`, and whether the task
    is done at the end."""
    start = made.begin(1)
    done = rollout.imagine(made.model, start, plan[:, None, None], ())
    states = [start, *(tree.select(done.states, k) for k in range(len(plan)))]
    assert done.transition.reward is not None
    return states, done.transition.reward[:, 0], bool(made.success(states[-1]))


def frames(
    made: Playground, states: Sequence[PhysicsState], size: int, fps: float = 25.0
) -> tuple[NDArray[np.uint8], float]:
    """Pictures `[F, size, size, 3]` of a course of states, and how many a second."""
    stride = max(1, round(1 / (fps * made.model.spec.dt)))
    shown = [made.picture(state, size, size)[0] for state in states[::stride]]
    return np.stack(shown), 1 / (stride * made.model.spec.dt)


def new(kind: str, seeds: Sequence[int], difficulty: float, out: Path) -> list[Path]:
    """Draw scenarios and write them into a directory, or a single one into a file.

    Raises:
        ValueError: there is no such kind, or several are to go into one file.
    """
    if out.suffix == ".json":
        if len(seeds) != 1:
            raise ValueError(f"{out} is one file for {len(seeds)} scenarios; give a directory.")
        return [kinds.draw(kind, seeds[0], difficulty).save(out)]
    drawn = [kinds.draw(kind, seed, difficulty) for seed in seeds]
    return [scenario.save(out / f"{scenario.name}.json") for scenario in drawn]


@dataclass(frozen=True)
class Shown:
    """What `show` wrote."""

    picture: Path
    film: Path | None
    """Of the solution."""
    solved: bool | None
    reward: float | None


def show(name: str | Path | Scenario, out: Path, size: int = 256, film: str = ".webp") -> Shown:
    """Write a picture of the start, and a film of the solution where there is one.

    Args:
        name: see `find`.
        out: directory.
        size: of the pictures [px].
        film: its format, see `viz.video`; empty for none.
    """
    made = playground(name)
    title = made.scenario.name
    start = made.picture(made.begin(1), size, size)
    picture = video.write(out / f"{title}.png", start, 1.0)
    plan = solution(made) if film else None
    if plan is None:
        return Shown(picture, None, None, None)
    states, reward, solved = carry_out(made, plan)
    path = video.write(out / f"{title}{film}", *frames(made, states, size))
    return Shown(picture, path, solved, float(reward.sum()))


def export(name: str | Path | Scenario, out: Path, size: int = 256) -> list[Path]:
    """Write what other programs can read, and return the files.

    scenario.json    the scenario
    start.png        a picture
    start.obj        everything solid as triangles [m], z up
    points.ply       particles, where there are some
    robot.xml        the robot and its objects as MJCF, where there is one
    plan.npz         the solution: actions, rewards, and the states on the way, if there is one
    """
    made = playground(name)
    start = made.begin(1)
    files = [made.scenario.save(out / "scenario.json")]
    files.append(video.write(out / "start.png", made.picture(start, size, size), 1.0))
    things = items(made.scene.world, start.world, 0)
    files.append(_obj(out / "start.obj", [x for x in things if isinstance(x, Mesh)]))
    balls = [x for x in things if isinstance(x, Balls)]
    if balls:
        files.append(_ply(out / "points.ply", balls))
    if made.scene.mjcf:
        files.append(out / "robot.xml")
        files[-1].write_text(made.scene.mjcf)
    plan = solution(made)
    if plan is not None:
        states, reward, solved = carry_out(made, plan)
        packed = torch.cat([made.model.pack(state.world) for state in states])
        arrays = {"action": plan, "reward": reward, "state": packed}
        files.append(out / "plan.npz")
        given: dict[str, Any] = {key: value.numpy() for key, value in arrays.items()}
        np.savez_compressed(files[-1], solved=np.array(solved), **given)
    return files


def _obj(path: Path, meshes: Sequence[Mesh]) -> Path:
    """Triangles as Wavefront OBJ."""
    lines, base = ["# Reverie scenario; metres, z up"], 1
    for k, mesh in enumerate(meshes):
        points, faces = np.asarray(mesh.vertices), np.asarray(mesh.faces)
        lines.append(f"o part{k}")
        lines += ["v " + " ".join(f"{x:.6g}" for x in point) for point in points]
        lines += ["f " + " ".join(str(int(v) + base) for v in face) for face in faces]
        base += len(points)
    path.write_text("\n".join(lines) + "\n")
    return path


def _ply(path: Path, balls: Sequence[Balls]) -> Path:
    """Points as PLY text."""
    points = np.concatenate([np.asarray(x.centres) for x in balls])
    head = "ply\nformat ascii 1.0\ncomment Reverie scenario; metres, z up\n"
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    rows = "\n".join(" ".join(f"{x:.6g}" for x in point) for point in points)
    path.write_text(f"{head}element vertex {len(points)}\n{axes}end_header\n{rows}\n")
    return path


# ------------------------------------------------------------------ checked


@dataclass(frozen=True)
class Checked:
    """How many scenarios of a kind are solved by the plan of their construction."""

    kind: str
    difficulty: float
    seeds: int
    solved: int
    idle: int
    """How many doing nothing solves: none, if the task is one."""
    seconds: float
    """For one of them: to draw, build, plan, carry out."""
    failed: tuple[int, ...]
    """Seeds."""


def check(
    kind: str,
    difficulty: float = DIFFICULTY,
    seeds: int = 10,
    told: Callable[[str], None] = lambda words: None,
) -> Checked:
    """Solve the scenarios of the seeds 0 .. seeds - 1; `told` hears about each.

    Raises:
        ValueError: the kind has no solution by construction.
    """
    kinds.scene(kinds.draw(kind, 0, difficulty))
    if KINDS[kind].plan is None:
        raise ValueError(f"{kind} has no solution by construction; `reverie optimise` can plan.")
    begun, failed, idle = time.perf_counter(), [], 0
    for seed in range(seeds):
        made = playground(kinds.draw(kind, seed, difficulty))
        plan = solution(made)
        assert plan is not None
        _, reward, solved = carry_out(made, plan)
        if not solved:
            failed.append(seed)
        idle += carry_out(made, torch.zeros_like(plan))[2]
        told(f"{kind}-{seed}: {'solved' if solved else 'not solved'}, {float(reward.sum()):.3f}")
    seconds = (time.perf_counter() - begun) / seeds
    return Checked(kind, difficulty, seeds, seeds - len(failed), idle, seconds, tuple(failed))


def keep(results: Sequence[Checked], out: Path) -> Path:
    """Write what `check` found as JSON."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, {**provenance(), "checked": [asdict(result) for result in results]})
    return out


def solvable() -> tuple[str, ...]:
    """The kinds that have a solution by construction."""
    return tuple(name for name, kind in KINDS.items() if kind.plan)
