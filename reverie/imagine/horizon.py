"""A window of a policy inside a differentiable model: what it earns, with the gradient of that.

    a_k ~ pi(. | s_k),   s_{k+1}, r_{k+1}, c_{k+1} = step(s_k, a_k),           k = 0 .. h-1
    J   = sum_k w_k (r_{k+1} + e H[pi(. | s_k)] + l_{k+1} g c_{k+1} V(s_{k+1}))
    w_0 = 1,   w_{k+1} = g c_{k+1} w_k, and 1 where a row begins anew

l is 1 where an episode ends and at the end of the window, else 0. The gradient of J flows through
rewards, states, features and the policy that reads them, back to the beginning of the window, where
it is cut; the states go on in the next window. (Xu et al. 2022, "Accelerated Policy Learning with
Parallel Differentiable Simulation", actor loss.)

An episode ends where its time limit is reached, or where the model says that it is more likely over
than not, c < 0.5; then the row begins anew. c is a weight all the same: of what follows an end with
c = 0.3, three tenths count, as value of the last state, and where c is 0, nothing. So a model that
knows is obeyed, one that guesses is believed as far as it says, and the risk of ending has a
gradient, which a threshold alone would take away.

At a step that is too stiff the row is cut in two. Its first part ends with w_k V(s_k), the value of
the state *before* the step, so that what leads to a contact still learns what the contact is worth;
the second part begins at s_{k+1}, a constant. Reward and action of the stiff step teach nothing:
their slope is what was not to be trusted. (The horizon that ends at contacts is that of Georgiev et
al. 2024, "Adaptive Horizon Actor-Critic for Policy Learning in Contact-Rich Differentiable
Simulation".)

Legend: `N` rows, `h` steps, `D` features, `A` action, `E` episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from reverie.core import rollout, tree
from reverie.core.model import Transition
from reverie.core.returns import lambda_return
from reverie.imagine.policy import Distribution


class Chooser(Protocol):
    """A policy as a window needs it: with its distribution."""

    def __call__(self, features: Tensor) -> Distribution:
        """What it would do at `[N, D]`."""
        ...

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """The randomness of one action, `[batch, ...]`."""
        ...


class Rows(NamedTuple):
    """Where the parallel worlds stand."""

    state: Any
    """`[N, ...]`."""
    age: Tensor
    """Actions since the episode began, int64 `[N]`."""
    total: Tensor
    """Rewards since the episode began, `[N]`."""


class Trace(NamedTuple):
    """What happened in a window, time-major, without graph."""

    features: Tensor
    """At s_0 .. s_{h-1}, `[h, N, D]`."""
    reward: Tensor
    """r_1 .. r_h, `[h, N]`."""
    value: Tensor
    """V(s_1) .. V(s_h), `[h, N]`, of the state before a row begins anew."""
    carry: Tensor
    """g c_1 .. g c_h, `[h, N]`."""
    ended: Tensor
    """Whether an episode ended at s_1 .. s_h, bool `[h, N]`."""
    stiff: Tensor
    """Whether the gradient was cut at the step to s_1 .. s_h, bool `[h, N]`."""
    length: Tensor
    """Actions of the episodes so far, int64 `[h, N]`."""
    total: Tensor
    """Their rewards so far, `[h, N]`."""


class Window(NamedTuple):
    """h steps of N rows."""

    gain: Tensor
    """J, `[N]`, with its graph."""
    trace: Trace
    """What happened."""
    rows: Rows
    """Where the next window begins."""
    flows: bool
    """Whether what the last step earned has a gradient; the policy's entropy does not count."""

    @property
    def loss(self) -> Tensor:
        """-(1 / (N h)) sum J."""
        return -self.gain.mean() / len(self.trace.reward)

    def targets(self, lam: float) -> Tensor:
        """The lambda-returns from s_0 .. s_{h-1}, `[h, N]`: what a critic is to say there."""
        t = self.trace
        return lambda_return(t.reward, t.value, t.carry, lam, t.ended)


class _Noise(NamedTuple):
    """Of a window."""

    model: Any
    action: Tensor
    signs: Any


class _Moment(NamedTuple):
    """What a step knows of J, with its graph, `[N, ...]`; stacked of all, `[h, N, ...]`."""

    features: Tensor
    arrived: Tensor
    reward: Tensor
    bonus: Tensor
    carry: Tensor
    ended: Tensor
    stiff: Tensor
    age: Tensor
    total: Tensor


@dataclass(frozen=True)
class Horizon:
    """How a policy is unrolled in a model."""

    model: Any
    """Featured, with rewards, of one action per step; its weights are constants for the caller."""
    policy: Chooser
    """pi."""
    value: Callable[[Tensor], Tensor]
    """V, `[N, D]` to `[N]`; its weights are constants."""
    starts: Callable[[int, Generator], Any]
    """States of so many new episodes, drawn from the generator."""
    limit: int
    """Actions after which an episode ends, though the task has not."""
    discount: float
    """g, per action."""
    entropy: float = 0.0
    """e, the reward for each nat of the policy's entropy."""
    stiffness: float | None = None
    """The gradient is cut at steps with more than so much `growth`; None: never."""

    def begin(self, count: int, generator: Generator) -> Rows:
        """So many new episodes.

        Raises:
            ValueError: `starts` gives another number of states than it was asked for.
        """
        state = self._start(count, generator)
        age = torch.zeros(count, dtype=torch.int64, device=tree.leaves(state)[0].device)
        return Rows(state, age, torch.zeros_like(age, dtype=torch.get_default_dtype()))

    def restart(self, rows: Rows, which: Tensor, generator: Generator) -> Rows:
        """New episodes in the rows `which`, bool `[N]`."""
        index = which.nonzero().squeeze(1)
        if not len(index):
            return rows
        fresh = self._start(len(index), generator)
        state = tree.map(lambda x, new: x.index_copy(0, index, new.to(x)), rows.state, fresh)
        age, total = (torch.where(which, 0, x) for x in rows[1:])
        return Rows(state, age, total)

    def unroll(self, rows: Rows, steps: int, generator: Generator) -> Window:
        """h = `steps` steps from `rows`."""
        noise = self._noise(rows, steps, generator)
        rows = rows._replace(state=tree.detach(rows.state))
        features, moments = self.model.features(rows.state), []
        for k in range(steps):
            policy = self.policy(features)
            action = policy.sample(noise.action[k]).unsqueeze(1)
            after, stiff = self._step(rows.state, action, tree.select(noise.model, k), noise.signs)
            reward, carry, over = after.reward, None, None
            assert reward is not None
            if after.continues is not None:
                carry, over = self.discount * after.continues, after.continues < 0.5
            rows = Rows(after.state, rows.age + 1, rows.total + reward.detach())
            ended = rows.age >= self.limit if over is None else (rows.age >= self.limit) | over
            if carry is None:
                carry = torch.full_like(rows.total, self.discount, dtype=reward.dtype)
            bonus = self.entropy * policy.entropy() if self.entropy else torch.zeros_like(carry)
            arrived = self.model.features(rows.state)
            moments.append(
                _Moment(
                    *(features, arrived, reward, bonus, carry, ended, stiff, rows.age, rows.total)
                )
            )
            features = arrived
            if bool(ended.any()):
                rows = self.restart(rows, ended, generator)
                features = self.model.features(rows.state)
        last = moments[-1]
        flows = any(x.requires_grad for x in (last.arrived, last.reward, last.carry))
        gain, trace = self._account(tree.stack(moments))
        return Window(gain, trace, rows._replace(state=tree.detach(rows.state)), flows)

    # ------------------------------------------------------------------ parts

    def _account(self, all_of: _Moment) -> tuple[Tensor, Trace]:
        """J, and what happened. Values have a graph only where J has them."""
        m = all_of
        with torch.no_grad():
            value = self.value(m.arrived.flatten(0, 1)).unflatten(0, m.ended.shape)
        closing = m.ended.clone()
        closing[-1] = True
        earned = m.reward + m.carry * self._valued(m.arrived, closing)
        if self.stiffness is not None:
            earned = torch.where(m.stiff, self._valued(m.features, m.stiff), earned)
        earned = earned + m.bonus
        weight, gain = torch.ones_like(value[0]), torch.zeros_like(value[0])
        cuts = (m.ended | m.stiff).unbind()
        for one, carry, cut in zip(earned.unbind(), m.carry.unbind(), cuts, strict=True):
            gain = gain + weight * one
            weight = torch.where(cut, 1.0, weight * carry)
        kept = (m.features, m.reward, value, m.carry, m.ended, m.stiff, m.age, m.total)
        return gain, Trace(*(x.detach() for x in kept))

    def _valued(self, features: Tensor, which: Tensor) -> Tensor:
        """V of the rows `which`, bool `[h, N]`, and 0 elsewhere."""
        found = self.value(features[which])
        return found.new_zeros(which.shape).masked_scatter(which, found)

    def _start(self, count: int, generator: Generator) -> Any:
        state = tree.detach(self.starts(count, generator))
        found = tree.batch_size(state)
        if found != count:
            raise ValueError(
                f"starts was asked for {count} states and gave {found}; it must give as many rows "
                "as its first argument says."
            )
        return state

    def _noise(self, rows: Rows, steps: int, generator: Generator) -> _Noise:
        count = len(rows.age)
        action = self.policy.noise(steps * count, generator).unflatten(0, (steps, count))
        model = rollout.draw(self.model, steps, count, generator)
        signs = () if self.stiffness is None else sign_noise(rows.state, generator)
        return _Noise(model, action, signs)

    def _step(
        self, state: Any, action: Tensor, noise: Any, signs: Any
    ) -> tuple[Transition[Any], Tensor]:
        """One step, and in which rows the state that it leads to is cut off, bool `[N]`."""
        if self.stiffness is None:
            never = torch.zeros(len(action), dtype=torch.bool, device=action.device)
            return self.model.step(state, action, noise), never
        before = tree.map(_own_input, state)
        after = self.model.step(before, action, noise)
        stiff = ~(growth(before, after.state, signs) <= self.stiffness)
        state = tree.where(stiff, tree.detach(after.state), after.state)
        return after._replace(state=state), stiff


def sign_noise(state: Any, generator: Generator) -> Any:
    """+1 or -1 for every number of a row of `state`, `[1, ...]`."""

    def draw_noise(x: Tensor) -> Tensor:
        shape, place = (1, *x.shape[1:]), generator.device
        return (2 * torch.randint(2, shape, generator=generator, device=place) - 1).to(x)

    return tree.map(draw_noise, state)


def growth(before: Any, after: Any, signs: Any) -> Tensor:
    """How much a step stretches its worst direction, `[N]`: max_i |sum_j v_j ds'_j / ds_i|.

    v are random signs, so that the mean square of entry i is |ds' / ds_i|^2: by how much the whole
    next state moves, for a move of entry i of the state. 1 where the state stays as it is; but it
    adds up different units, as what a metre does to velocities [1/s]: a robot that stands on its
    feet has tens to hundreds, for contacts that are stiff against dt. So no value is large by
    itself; look at its quantiles for the model at hand. It is one vector-Jacobian product for all
    rows, which leaves the graph as it is. Leaves that are handed on as they are (context), and
    those that are no floats, do not count.

    `before` must be read by the step alone, so that what a policy would answer does not count.
    """
    pairs = zip(*(tree.leaves(x) for x in (before, after, signs)), strict=True)
    moved = [(x, y, v) for x, y, v in pairs if y is not x and x.is_floating_point()]
    ends = [(y, v.expand_as(y)) for _, y, v in moved if y.requires_grad]
    rows = len(tree.leaves(after)[0])
    if not ends:
        return torch.zeros(rows, device=tree.leaves(after)[0].device)
    slopes = torch.autograd.grad(
        [y for y, _ in ends],
        [x for x, _, _ in moved],
        [v for _, v in ends],
        retain_graph=True,
        materialize_grads=True,
    )
    return torch.stack([x.abs().reshape(rows, -1).amax(1) for x in slopes]).amax(0)


def _own_input(x: Tensor) -> Tensor:
    """The same values, with a gradient of their own."""
    if not x.is_floating_point():
        return x
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
