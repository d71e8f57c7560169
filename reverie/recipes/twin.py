"""A twin: the differentiable physics of a MuJoCo environment, with its own sensors and actions.

    s_{t+1} = step(s_t, low + (a_t + 1) / 2 (high - low); theta c)     o_t = phi(s_t) W

The bodies are those of the environment's MuJoCo model (`twin_source`), the step is Reverie's rigid
body solver, what is sensed is fitted to the simulator (`twin_readout`), the reward is the task's
own, asked at the predicted state. Gradients flow through all of it: exact through the physics and
the sensors, by central differences of the simulator through the reward.

Bodies that touch nothing move as in MuJoCo: to rounding where it integrates by Euler's method, to
about 1e-7 where it does so by Runge and Kutta's, limits of joints included (`twin_steps`).
Contacts, and limits under Euler's method, follow another law (`rigid.load`): there the two part.

Of the DeepMind Control Suite these have a twin:

* acrobot, cartpole (all), pendulum: as in MuJoCo; reacher: but for the limit of its wrist;
* cheetah, walker, humanoid_run_pure_state: while nothing touches the ground or is at a limit;
* hopper without its sensor touch, humanoid without extremities and com_velocity: as these.

These are refused, by name of what is not known: ball_in_cup, dog, finger, fish, humanoid_CMU, lqr,
manipulator, point_mass, quadruped, stacker, swimmer. Of Gymnasium's MuJoCo robots those have one,
without reward, that hold to the same: InvertedPendulum, InvertedDoublePendulum, Reacher, and until
they touch the ground Hopper, HalfCheetah and Ant.

Legend: `B` batch, `A` action, `D` numbers sensed, `Q` positions, `V` velocities, `R` other entries
of the simulator's vector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Batch, Obs, Transition
from reverie.core.spec import Input, Output, Space, Spec
from reverie.envs import EnvConfig
from reverie.eval.windows import from_batch
from reverie.models.physics import Fit, FitConfig, identify
from reverie.physics.backend import Backend
from reverie.physics.rigid import RigidParams, RigidState
from reverie.recipes.twin_readout import features, fit
from reverie.recipes.twin_reward import asked, joined
from reverie.recipes.twin_source import PHYSICS, Source
from reverie.recipes.twin_steps import Stepper

FACTORS = ("mass", "damping", "motor", "friction", "gravity")
"""What may be scaled: all masses and inertias; damping in joints; forces of actuators; friction of
contacts and in joints; gravity. "mass:<body>" is that of one body."""
STILL = 1e-6
"""A sensor whose deviation is less than this says nothing."""


@dataclass(frozen=True)
class TwinConfig:
    """What a twin predicts, and what of it may be another than in the nominal robot."""

    reward: bool = True
    """Ask the task for the reward, frame by frame: for planning. It costs a call of Python each."""
    sensors: tuple[str, ...] = ()
    """Those that are predicted; by default all but pictures."""
    learn: tuple[str, ...] = ()
    """Factors that are parameters, see `FACTORS`."""
    context: tuple[str, ...] = ()
    """Factors that differ between episodes."""
    spread: tuple[float, float] = (0.5, 2.0)
    """The smallest and largest factor that is drawn as context."""
    substeps: int = 1
    """Into how many each time step of MuJoCo is divided; other than 1, Euler's method differs."""
    seed: int = 0
    """Of the episode that `initial` begins."""
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        low, high = self.spread
        if not 0 < low <= high:
            raise ValueError(f"TwinConfig spread is {self.spread}; give 0 < low <= high.")
        if self.substeps < 1:
            raise ValueError(f"TwinConfig substeps is {self.substeps}; give at least 1.")
        if both := sorted(set(self.learn) & set(self.context)):
            raise ValueError(f"TwinConfig learns {both} and has them as context; choose one.")


class TwinState(NamedTuple):
    """A robot, and what is constant in an episode."""

    position: Tensor
    """`[B, Q]` float64."""
    velocity: Tensor
    """`[B, V]`."""
    rest: Tensor
    """`[B, R]`, the other entries of the simulator's vector, as they were sensed; time goes on."""
    context: Mapping[str, Tensor]
    """Factors `[B]`."""


class Identified(NamedTuple):
    """A twin with the factors that recorded rows say."""

    twin: Twin
    fit: Fit


def twin(env: EnvConfig, config: TwinConfig | None = None) -> Twin:
    """The differentiable twin of a MuJoCo environment, at the environment's `repeat`.

    Its rows need the sensor "physics": play the environment with `EnvConfig(physics=True)`.

    Raises:
        ValueError: there is no MuJoCo inside, or something in it that Reverie's physics, a linear
            readout or the reward cannot follow; what it is, is named.
        ModuleNotFoundError: an extra is missing.
    """
    config = config or TwinConfig()
    return Twin(Source(env, config.seed), config)


class Twin(nn.Module):
    """A deterministic `WorldModel` over `TwinState`, in float64; `Featured` by what is sensed. It
    knows no ends of episodes."""

    def __init__(self, source: Source, config: TwinConfig | None = None) -> None:
        """See `twin`; twins may share a source."""
        super().__init__()
        config = config or TwinConfig()
        self.source, self.config = source, config
        _require_factors(source, (*config.learn, *config.context))
        if config.reward and not source.rewards:
            raise ValueError(
                f"{source.config.name} tells its reward only while it is played, not at a state "
                "that was predicted; make the twin with TwinConfig(reward=False)."
            )
        self.steps = Stepper(
            *(source.bodies.model, source.timestep, source.fourth_order, source.limits),
            *(config.substeps, config.backend),
        )
        self.readout = None if source.blind else fit(source, config.sensors)
        self.factors = nn.ParameterDict({k: nn.Parameter(torch.zeros(())) for k in config.learn})
        self.register_buffer("like", torch.zeros((), dtype=torch.float64), persistent=False)
        self.double()
        low, high = config.spread
        spaces = {} if self.readout is None else dict(self.readout.spaces)
        provides: set[Output] = {"obs", "reward"} if config.reward else {"obs"}
        inputs: set[Input] = {"state", "action", "params"}
        self.spec = Spec(
            obs={**spaces, PHYSICS: source.env.obs[PHYSICS]},
            action=source.env.action,
            dt=source.env.dt,
            context={name: Space((), low=low, high=high) for name in config.context},
            provides=frozenset(provides),
            grad=frozenset(inputs if config.learn else inputs - {"params"}),
        )
        self.feature_size = self.features(self.initial(1)).shape[1]

    like: Tensor

    # ------------------------------------------------------------------ the interface

    def initial(self, batch: int, context: Obs | None = None) -> TwinState:
        """The beginning of the seed's episode, B times; without a context factors are 1."""
        given = dict(context or {})
        made = {name: torch.ones(batch).to(self.like) for name in self.config.context}
        made = {
            n: given[n].to(one).reshape(one.shape) if n in given else one for n, one in made.items()
        }
        begin = torch.from_numpy(self.source.begin).to(self.like).expand(batch, -1)
        return self._unpacked(begin, made)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        """Nothing: physics is deterministic."""
        return ()

    def observe(
        self, state: TwinState, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> TwinState:
        """s_t = o_t["physics"]: the state is sensed, and nothing before it but context matters."""
        sensed, size = obs.get(PHYSICS), self.source.layout.size
        if sensed is None or sensed.shape[1:] != (size,):
            found = sorted(obs) if sensed is None else f"'{PHYSICS}' of shape {[*sensed.shape]}"
            raise ValueError(
                f"The twin of {self.source.config.name} reads the observation '{PHYSICS}' "
                f"[B, {size}] and was given {found}; make the environment with physics=True."
            )
        return self._unpacked(sensed.to(self.like), dict(state.context))

    def step(self, state: TwinState, action: Tensor, noise: tuple[()]) -> Transition[TwinState]:
        """s_{t+1} after the environment's `repeat` frames under an action `[B, 1, A]`, clipped to
        [-1, 1], and where asked for the reward, summed over the frames."""
        low, high = (torch.from_numpy(x).to(self.like) for x in (self.source.low, self.source.high))
        control = (low + high) / 2 + (high - low) / 2 * action[:, 0].to(self.like).clamp(-1, 1)
        params = self.params(state)
        q, v = state.position, state.velocity
        reward = q.new_zeros(len(q))
        clock = torch.zeros_like(state.rest[:1])
        clock[:, 0] = self.spec.dt
        frames = self.source.env.repeat
        for _ in range(frames if self.config.reward else 1):
            ticks = self.source.ticks * (1 if self.config.reward else frames)
            q, v = self.steps(RigidState(q, v), params, control, ticks)
            if self.config.reward:
                drawn = self._drawn(state.rest)
                reward = reward + asked(self.source, q, v, drawn, control, state.rest)
        after = state._replace(position=q, velocity=v, rest=state.rest + clock)
        return Transition(after, reward=reward if self.config.reward else None)

    def decode(self, state: TwinState) -> dict[str, Tensor]:
        """What is sensed, float64, and the simulator's vector."""
        found = {PHYSICS: joined(self.source, state.position, state.velocity, state.rest)}
        if self.readout is not None:
            found |= self.readout(self._phi(state))
        return found

    # ------------------------------------------------------------------ optional parts

    def features(self, state: TwinState) -> Tensor:
        """All that is sensed, as one vector; of an environment of pictures positions and
        velocities `[B, D]`."""
        if self.readout is None:
            return torch.cat([state.position, state.velocity], -1)
        return self._phi(state) @ self.readout.weight.to(self.like)

    # ------------------------------------------------------------------ parts

    def params(self, state: TwinState) -> RigidParams:
        """The bodies' numbers under the learnt factors and the episode's, `[B, ...]`."""
        batch, nominal = len(state.position), self.source.bodies.params
        full: RigidParams = tree.map(lambda x: x.to(self.like).expand(batch, *x.shape[1:]), nominal)
        for name, factor in state.context.items():
            full = _scaled(self.source, full, name, factor)
        for name, theta in self.factors.items():
            full = _scaled(self.source, full, name, theta.exp().expand(batch))
        return full

    def close(self) -> None:
        """Free the simulator; the twin cannot be asked for rewards any more."""
        self.source.close()

    def _phi(self, state: TwinState) -> Tensor:
        drawn = self._drawn(state.rest)
        return features(self.source.bodies, state.position, state.velocity, drawn)

    def _drawn(self, rest: Tensor) -> Tensor:
        at = self.source.layout
        moved = at.velocity.stop - at.position.start
        return rest[:, at.drawn.start - moved : at.drawn.stop - moved]

    def _unpacked(self, vector: Tensor, context: Mapping[str, Tensor]) -> TwinState:
        at = self.source.layout
        rest = torch.cat([vector[:, : at.position.start], vector[:, at.velocity.stop :]], -1)
        return TwinState(
            vector[:, at.position].clone(), vector[:, at.velocity].clone(), rest, context
        )


def _require_factors(source: Source, names: tuple[str, ...]) -> None:
    bodies = [f"mass:{body.name}" for body in source.bodies.model.bodies]
    if unknown := sorted(set(names) - {*FACTORS, *bodies}):
        raise ValueError(
            f"A twin of {source.config.name} has the factors {(*FACTORS, *bodies)}, not {unknown}."
        )


def _scaled(source: Source, params: RigidParams, name: str, factor: Tensor) -> RigidParams:
    """The bodies' numbers with one factor `[B]`."""
    bodies, joints, motors = params.bodies, params.joints, params.actuators
    k = factor.to(bodies.mass).unsqueeze(-1)
    if name == "damping":
        return params._replace(joints=joints._replace(damping=k * joints.damping))
    if name == "motor":
        motors = motors._replace(gain=k * motors.gain, bias=k.unsqueeze(-1) * motors.bias)
        return params._replace(actuators=motors)
    if name == "friction":
        contacts = params.contacts._replace(friction=k * params.contacts.friction)
        dry = joints._replace(friction=k * joints.friction)
        return params._replace(contacts=contacts, joints=dry)
    if name == "gravity":
        return params._replace(gravity=k * params.gravity)
    if ":" in name:
        one = torch.zeros_like(bodies.mass)
        one[:, source.bodies.model.body(name.partition(":")[2])] = 1
        k = 1 + (k - 1) * one
    heavier = bodies._replace(mass=k * bodies.mass, inertia=k.unsqueeze(-1) * bodies.inertia)
    return params._replace(bodies=heavier)


def identify_twin(
    env: EnvConfig,
    rows: Batch,
    learn: tuple[str, ...] = ("mass",),
    *,
    length: int = 25,
    config: TwinConfig | None = None,
    search: FitConfig | None = None,
) -> Identified:
    """The twin whose factors recorded rows of a real (or a changed) robot say.

    The rows are cut into windows of `length`, each begun where it was sensed to begin; where limits
    of joints are not MuJoCo's (see the top), windows that come to one are left out if there are
    others. All that is sensed is matched, every number in units of its own
    deviation, by `reverie.models.physics.identify`.

    A robot without springs and armature moves alike when it is twice as heavy and when its motors,
    dampers and friction are half as strong: learn one of them, not all.

    Args:
        env: of the nominal robot.
        rows: `[B, T]`, with "physics" and the sensors; the rows of a batch may hold several
            episodes. Make them with `eval.windows.from_episodes` or `from_store`.
        learn: the factors, see `FACTORS`.
        length: of a window [rows]; long ones tell more, and bend more.
        config: of the twin; its `learn` is not read.
        search: how the minimum is looked for; by default until a step gains less than 1e-4.

    Raises:
        ValueError: as `twin` and `identify` do, or the rows lack a sensor or are too short.
    """
    config = replace(config or TwinConfig(), learn=tuple(learn))
    source = Source(env, config.seed)
    made = Twin(source, replace(config, reward=False))
    if missing := sorted(set(made.spec.obs) - set(rows.obs)):
        raise ValueError(
            f"The rows lack {missing}, which the twin of {env.name} reads or predicts; record them "
            "with physics=True, or leave sensors out with TwinConfig(sensors=...)."
        )
    windows = _within_limits(made, from_batch(rows, length).batch)
    begun = torch.zeros_like(windows.first)
    begun[:, 0] = True
    windows = windows._replace(first=begun)
    now = {name: x[:, 0] for name, x in windows.obs.items()}
    start = made.observe(made.initial(len(begun)), windows.action[:, 0, None], now, begun[:, 0], ())
    search = search or FitConfig(tolerance=1e-4)
    found = identify(cast(Any, made), windows, _deviations(made, windows), start, (), search)
    whole = Twin(source, config)
    whole.load_state_dict(made.state_dict())
    return Identified(whole, found)


def _within_limits(made: Twin, rows: Batch) -> Batch:
    """The windows in which no joint comes to a limit of another law; all, where there are none."""
    source, joints = made.source, made.source.bodies.params.joints
    if source.fourth_order and source.limits is not None:
        return rows
    sensed = rows.obs[PHYSICS].double()
    q, v = sensed[..., source.layout.position], sensed[..., source.layout.velocity]
    free = torch.ones(len(sensed), dtype=torch.bool)
    for joint in source.bodies.model.joints:
        if joint.kind in ("hinge", "slide"):
            at, d = q[..., joint.position], joint.velocity
            ahead = at + made.spec.dt * v[..., d]
            low, high = torch.minimum(at, ahead), torch.maximum(at, ahead)
            inside = (low > joints.lower[0, d]) & (high < joints.upper[0, d])
            free &= inside.all(-1)
    chosen: Batch = tree.map(lambda x: x[free], rows)
    return chosen if bool(free.any()) else rows


def _deviations(made: Twin, rows: Batch) -> dict[str, Tensor]:
    """The deviation of each number sensed; 0, for "not looked at", where it stands still."""
    found = {}
    for name in made.spec.obs:
        if name != PHYSICS or made.readout is None:
            spread = rows.obs[name].double().flatten(0, 1).std(0)
            found[name] = torch.where(spread > STILL, spread, 0.0)
    return found
