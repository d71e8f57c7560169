"""The TD-MPC2 world model: a latent that forgets the past, predicted without a decoder.

See README.md beside this file for the equations, the published version and the departures from it.
Legend: `B` batch, `T` rows, `L` latent, `E` task embedding, `A` action, `F` frames, `C h w` image.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Batch, Obs, Transition, WorldModelLoss
from reverie.core.spec import Input, Output, Space, Spec
from reverie.models.tdmpc2 import objective
from reverie.models.tdmpc2.config import OptimiserGroup, Task, TDMPC2Config
from reverie.models.tdmpc2.critic import TerminalValue, even_bins, number
from reverie.models.tdmpc2.layers import MLP, Ensemble, Latent, Shared
from reverie.models.tdmpc2.loss import TrainingNoise, scales
from reverie.models.tdmpc2.policy import Policy
from reverie.models.tdmpc2.sensors import Encoder, as_bytes, masked, pushed


class TDMPC2State(NamedTuple):
    """What the model knows; absent parts are `()` and `{}`."""

    z: Tensor
    """`[B, L]`, groups of entries that sum to one."""
    task: Any
    """int64 `[B]`, with several tasks."""
    frames: Any
    """By camera the last F pictures, uint8 `[B, F C, h, w]`, the oldest first."""


class TDMPC2(nn.Module):
    """A `WorldModel` over `TDMPC2State`, `Sequential`, `Trainable` and `Featured`.

    `policy` is a `Policy` on its features, `critic` the value with which a plan ends.
    """

    bins: Tensor
    range: Tensor
    masks: Tensor
    discounts: Tensor

    def __init__(
        self,
        obs: Mapping[str, Space],
        action: Space,
        dt: float,
        config: TDMPC2Config,
        tasks: Sequence[Task] = (),
    ) -> None:
        """A model that reads `obs` and acts in `action`, in -1..1; `dt` [s] per action.

        With `tasks`, two or more, the context `{"task": int64 [B]}` says which one a row is of.

        Raises:
            ValueError: no observation is given, actions are discrete, or parts do not fit together.
        """
        super().__init__()
        _require(obs, action, tasks)
        context = {"task": Space((), "int64", 0, len(tasks) - 1)} if tasks else {}
        provides: set[Output] = {"reward", "continues"} if config.episodic else {"reward"}
        inputs: set[Input] = {"params", "state", "action"}
        self.spec = Spec(
            dict(obs), action, dt, context, provides=frozenset(provides), grad=frozenset(inputs)
        )
        self.config, self.tasks = config, tuple(tasks)
        net, actions = config.net, action.size
        embedding = net.task if tasks else 0
        read = net.latent + embedding
        self.embeddings = nn.Parameter(torch.empty(len(tasks), embedding)) if tasks else None
        if self.embeddings is not None:
            nn.init.uniform_(self.embeddings, -0.02, 0.02)
        self.encoder = Encoder(obs, embedding, net)
        self.dynamics = Latent(read + actions, net.latent, net.width, 2, net.group)
        self.reward = MLP(read + actions, config.bins, net.width, zero=True)
        self.termination = MLP(read, 1, net.width) if config.episodic else None
        self.policy = Policy(read, actions, net.width, bool(tasks), config.policy)
        self.q = Ensemble(net.heads, read + actions, config.bins, net.width, net.dropout)
        self.target = copy.deepcopy(self.q).requires_grad_(False)
        self.feature_size = read + (actions if tasks else 0)
        self.register_buffer("range", torch.ones(()))
        self.register_buffer("bins", even_bins(config.bins, config.limit), persistent=False)
        used = [[float(i < task.actions) for i in range(actions)] for task in tasks]
        self.register_buffer("masks", torch.tensor(used), persistent=False)
        rates = [task.discount for task in tasks] or [config.discount]
        self.register_buffer("discounts", torch.tensor(rates), persistent=False)
        self.range_after: Tensor | None = None  # of the last `loss`, for `after_update`

    # ------------------------------------------------------------------ the interface

    def initial(self, batch: int, context: Obs | None = None) -> TDMPC2State:
        """z of equal entries, black pictures, and the task of the context (without one, the first).

        Raises:
            ValueError: a task is not one of the model's.
        """
        net, like = self.config.net, self.bins
        z = torch.full((batch, net.latent), 1 / net.group, dtype=like.dtype, device=like.device)
        frames = {
            name: torch.zeros(
                batch, net.frames * space.shape[0], *space.shape[1:], dtype=torch.uint8
            ).to(like.device)
            for name, space in self.encoder.spaces.items()
            if space.is_image
        }
        if not self.tasks:
            return TDMPC2State(z, (), frames)
        task = torch.zeros(batch, dtype=torch.int64) if context is None else context["task"]
        if task.numel() and not 0 <= int(task.min()) <= int(task.max()) < len(self.tasks):
            raise ValueError(
                f"Tasks are 0 to {len(self.tasks) - 1} in this model; got {task.unique().tolist()}."
            )
        return TDMPC2State(z, task.to(like.device, torch.int64).reshape(batch), frames)

    def noise(self, batch: int, generator: Generator | None = None) -> tuple[()]:
        """`()`: the model is deterministic."""
        return ()

    def observe(
        self, state: TDMPC2State, action: Tensor, obs: Obs, first: Tensor, noise: tuple[()]
    ) -> TDMPC2State:
        """z_t = encoder(o_t and the pictures before it); the action is not read."""
        frames = {
            name: pushed(stack, masked(obs, name, as_bytes(obs[name])), first)
            for name, stack in state.frames.items()
        }
        return TDMPC2State(self.encoder(obs, frames, self.embedded(state)), state.task, frames)

    def step(self, state: TDMPC2State, action: Tensor, noise: tuple[()]) -> Transition[TDMPC2State]:
        """z_{t+1} = d(z_t, a_t), with the reward of a_t and 1 - p(end) at z_{t+1}.

        `action` `[B, 1, A]`; pictures stay the last ones that were seen.
        """
        task = self.task_parts(state)
        own = [*task[:1], action[:, 0] * task[1] if task else action[:, 0]]
        x: Tensor | Shared
        if len(own[-1]) > 1 and not (state.z.stride(0) or torch.is_grad_enabled()):
            x = Shared(state.z[0], torch.cat(own, -1))  # plans that begin in one state
        else:
            x = torch.cat([state.z, *own], -1)
        after = state._replace(z=self.dynamics(x))
        reward = number(self.reward(x), self.bins)
        if self.termination is None:
            return Transition(after, reward=reward)
        end = self.termination(torch.cat([after.z, *task[:1]], -1)).squeeze(-1)
        return Transition(after, reward=reward, continues=torch.sigmoid(-end))

    def decode(self, state: TDMPC2State) -> dict[str, Tensor]:
        """`{}`: there is no decoder."""
        return {}

    # ------------------------------------------------------------------ optional parts

    def features(self, state: TDMPC2State) -> Tensor:
        """z `[B, L]`; with several tasks [z, embedding, mask of actions] `[B, L + E + A]`."""
        task = self.task_parts(state)
        return torch.cat([state.z, *task], -1) if task else state.z

    def observe_all(
        self,
        state: TDMPC2State,
        action: Tensor,
        obs: Obs,
        first: Tensor,
        noise: tuple[()],
    ) -> TDMPC2State:
        """The states `[B, T, ...]` of a whole sequence; equal to a loop of `observe`."""
        frames = self.stacks(state, obs, first)
        rows = first.shape[1]
        task = state.task[:, None].expand(-1, rows) if self.tasks else ()
        flat = TDMPC2State(state.z, *tree.flatten_time((task, frames)))
        z = self.encoder(tree.flatten_time(dict(obs)), flat.frames, self.embedded(flat))
        return TDMPC2State(z.unflatten(0, first.shape), task, frames)

    def discount(self, state: TDMPC2State) -> Tensor:
        """The discount per decision, `[B]`."""
        if self.tasks:
            return self.discounts[state.task]
        return self.discounts.expand(state.z.shape[0])

    @property
    def critic(self) -> TerminalValue:
        """The value with which a plan ends, with the current weights."""
        return TerminalValue(self.policy, self.q, self.bins, self.config.net.heads)

    @property
    def warmup(self) -> int:
        """Rows at the head of a batch that only fill the stacks of pictures."""
        return self.config.net.frames - 1 if len(self.encoder.cameras) else 0

    @property
    def scales(self) -> dict[str, float]:
        """Weights of the losses that `loss` returns."""
        return scales(self.config)

    @property
    def optimiser_groups(self) -> dict[str, OptimiserGroup]:
        """By prefix of the parameters' names, how they are meant to be fitted; "" is the rest."""
        lr, clip = 3e-4, 20.0
        return {
            "encoder.": OptimiserGroup(0.3 * lr, 1e-8, clip, "model"),
            "policy.": OptimiserGroup(lr, 1e-5, clip, "policy"),
            "": OptimiserGroup(lr, 1e-8, clip, "model"),
        }

    @property
    def metrics(self) -> dict[str, Tensor]:
        """Numbers worth a curve: the running range of Q values."""
        return {"value_range": self.range}

    # ------------------------------------------------------------------ learning

    def training_noise(
        self, rows: int, steps: int, generator: Generator | None = None
    ) -> TrainingNoise:
        """All randomness of `loss` on `[rows, steps]` recorded rows, from one generator."""
        return objective.training_noise(self, rows, steps, generator)

    def loss(
        self, batch: Batch, state: TDMPC2State, noise: TrainingNoise | tuple[()]
    ) -> WorldModelLoss:
        """Consistency, reward, value, termination and policy losses, each `[B, T]`.

        The rollout begins at row `warmup` and ends with the last one; rows from the first one of
        another episode on cost nothing. Noise is drawn by `training_noise`; `()` stands for none:
        the policy's mode, Q functions 0 and 1, no dropout, no shift.

        Raises:
            ValueError: there are too few rows.
        """
        return objective.loss(self, batch, state, noise)

    @torch.no_grad()
    def after_update(self) -> None:
        """Slow Q functions and range of values follow; task embeddings stay within length 1."""
        rate = self.config.loss.target_rate
        torch._foreach_lerp_(list(self.target.parameters()), list(self.q.parameters()), rate)
        if self.range_after is not None:
            self.range.copy_(self.range_after)
            self.range_after = None
        if self.embeddings is not None:
            self.embeddings.copy_(_within_one(self.embeddings))

    # ------------------------------------------------------------------ parts

    def task_parts(self, state: TDMPC2State) -> tuple[Tensor, ...]:
        """Embedding `[B, E]` and mask of actions `[B, A]` of each row's task; else nothing."""
        if self.embeddings is None:
            return ()
        return _within_one(self.embeddings[state.task]), self.masks[state.task]

    def embedded(self, state: TDMPC2State) -> Tensor | None:
        """The embedding alone, `[B, E]`, or None."""
        return self.task_parts(state)[0] if self.tasks else None

    def stacks(self, state: TDMPC2State, obs: Obs, first: Tensor) -> dict[str, Tensor]:
        """By camera the pictures that each row reads, `[B, T, F C, h, w]`."""
        stacks = {}
        for name, before in state.frames.items():
            flat = {k: obs[k].flatten(0, 1) for k in (name, f"{name}.present") if k in obs}
            frame = masked(flat, name, as_bytes(flat[name])).unflatten(0, first.shape)
            made = [before]
            for t in range(first.shape[1]):
                made.append(pushed(made[-1], frame[:, t], first[:, t]))
            stacks[name] = torch.stack(made[1:], 1)
        return stacks


def _within_one(embedding: Tensor) -> Tensor:
    """Rows `[.., E]` of a norm above one shortened to it."""
    norm = torch.linalg.vector_norm(embedding, dim=-1, keepdim=True)
    return torch.where(norm > 1, embedding / (norm + 1e-7), embedding)


def _require(obs: Mapping[str, Space], action: Space, tasks: Sequence[Task]) -> None:
    """Raise one clear sentence where a model cannot be made."""
    if not obs:
        raise ValueError("A TD-MPC2 model needs at least one observation; it got none.")
    for name in obs:
        if "." in name or hasattr(nn.ModuleDict, name) or name in ("", "training"):
            raise ValueError(f"A sensor cannot be called {name!r} here; rename it.")
    if action.discrete:
        raise ValueError(
            "TD-MPC2 plans and acts with continuous actions; this action is a choice. Use a family "
            "with discrete actions, such as dreamer."
        )
    if len(tasks) == 1:
        raise ValueError(
            f"One task, {tasks[0].name!r}, needs no list of tasks; set TDMPC2Config.discount, and "
            "leave tasks out."
        )
    if tasks and all(space.is_image for space in obs.values()):
        raise ValueError(
            "With several tasks the encoder reads the task beside a vector; add one to obs."
        )
    wrong = [task.name for task in tasks if not 1 <= task.actions <= action.size]
    if wrong:
        raise ValueError(
            f"The tasks {wrong} use more or fewer entries than actions have, 1 to {action.size}."
        )
