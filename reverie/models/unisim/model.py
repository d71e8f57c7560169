"""The UniSim world model: the next frame by diffusion, from the last ones and what is done.

See README.md beside this file for the equations and the departures from what was published.
Legend: `B` batch, `T` rows, `K` frames looked back to, `A` action, `C h w` image, `D` features.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from reverie.core import tree
from reverie.core.model import Batch, Obs, Transition, WorldModelLoss
from reverie.core.spec import Input, Output, Space, Spec
from reverie.models.unisim import flow, loss
from reverie.models.unisim.config import UniSimConfig
from reverie.models.unisim.denoiser import Denoiser, stretches
from reverie.models.unisim.heads import LOOKED_AT, Ensemble, Features, Heads
from reverie.models.unisim.lens import Lens
from reverie.models.unisim.loss import TrainingNoise
from reverie.models.unisim.sensors import Cameras, Vectors, forgotten
from reverie.nn.conditions import Context, Part, whole
from reverie.nn.spacetime import Cache


class UniSimState(NamedTuple):
    """What the model knows."""

    frames: Tensor
    """`[B, K, C, h, w]`, the last frames in -1..1, the oldest first, cameras along C; or their
    latents."""
    age: Tensor
    """int64 `[B]`, frames of the episode so far, at most K; the first one stands for those
    before it."""
    looked: Tensor
    """`[B, D]`, features of the last two frames: what heads and policies read."""
    vectors: Any
    """By sensor the last values `[B, ...]`, scaled."""
    given: Any
    """What is constant in the episode, by name `[B, ...]`: text, which robot."""
    context: Context
    """The same as the conditions read it."""
    cache: Any
    """What a transformer keeps of earlier frames; `()` with a U-Net."""


class UniSim(nn.Module):
    """A `WorldModel` over `UniSimState`, `Sequential`, `Trainable` and `Featured`.

    It predicts frames with a running average of its weights (`averaged`), so of the parameters
    `step` has a gradient with respect to those of the heads alone.
    """

    updates: Tensor

    def __init__(
        self,
        obs: Mapping[str, Space],
        action: Space,
        dt: float,
        config: UniSimConfig | None = None,
        parts: tuple[Part, ...] = (),
    ) -> None:
        """A model that sees `obs` and acts in `action`; `dt` [s] per action.

        Cameras are images of one size. Vectors of floats are proprioception: read and predicted.
        "text" (uint8 `(L,)`), "text_embedding" and "embodiment" are context. `parts` says how an
        action divides into what can be missing by itself; without, it is one part.

        Raises:
            ValueError: there is no image, images differ in size, or a space cannot be read.
        """
        super().__init__()
        self.config = config = config or UniSimConfig()
        self.cameras = Cameras(obs)
        self.vectors = Vectors(obs)
        context = context_of(obs)
        sensed = {n: s for n, s in obs.items() if n not in context}
        provides: set[Output] = {"obs"}
        provides |= {"reward"} if config.heads.reward else set()
        provides |= {"continues"} if config.heads.continues else set()
        provides |= {"uncertainty"} if config.heads.members else set()
        read = len(provides) > 1 or bool(self.vectors.spaces)
        grad: set[Input] = {"state", "action"}
        grad |= {"params"} if read else set()
        outputs, inputs = frozenset(provides), frozenset(grad)
        self.spec = Spec(sensed, action, dt, context, provides=outputs, grad=inputs)
        self.parts = parts or whole(action)
        shape, width = self.cameras.shape, config.width
        self.lens = Lens(shape, config.tokenizer if config.space == "latents" else None)
        self.denoiser = Denoiser(self.lens.shape, self.parts, self.vectors.spaces, context, config)
        self.features_of = Features(shape, config.frames, config.heads.features)
        self.features_of.requires_grad_(read)  # without a head they stay as they are drawn
        self.heads = Heads(self.vectors.spaces, width, config.heads)
        members = config.heads.members
        self.ensemble = Ensemble(shape[0], width, config.heads) if members else None
        self.averaged = copy.deepcopy(self.denoiser).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.feature_size = self.features(self.initial(1)).shape[1]

    # ------------------------------------------------------------------ the interface

    def initial(self, batch: int, context: Obs | None = None) -> UniSimState:
        """Grey frames of age 0, vectors of zeros, and what the context says."""
        like = self.features_of.output.weight
        frames = like.new_zeros(batch, self.config.frames, *self.lens.shape)
        age = torch.zeros(batch, dtype=torch.int64, device=like.device)
        given = self._given(batch, context)
        vectors = self.vectors.zeros(batch, like)
        told, cache = self._told(batch, given), self.averaged.empty(batch)
        return UniSimState(frames, age, self.look(frames), vectors, given, told, cache)

    def told(self, state: UniSimState, context: Obs) -> UniSimState:
        """The same moment under another context: a new instruction. What it does not name stays."""
        batch = len(state.age)
        new = self._given(batch, context)
        given = {name: new[name] if name in context else old for name, old in state.given.items()}
        return state._replace(given=given, context=self._told(batch, given))

    def _given(self, batch: int, context: Obs | None) -> dict[str, Tensor]:
        like = self.features_of.output.weight
        found = {}
        for name, space in self.spec.context.items():
            value = (context or {}).get(name)
            if value is None:
                blank = math.nan if space.dtype.startswith("float") else 0
                value = torch.full((batch, *space.shape), blank, dtype=space.torch_dtype)
            found[name] = value.to(like.device)
        return found

    def _told(self, batch: int, given: Mapping[str, Tensor]) -> Context:
        read: Context = tree.detach(self.averaged.conditions.encode(batch, given))
        return read

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """Where denoising begins, standard normal `[B, C, h, w]`."""
        like = self.features_of.output.weight
        drawn = torch.randn(
            batch,
            *self.lens.shape,
            generator=generator,
            dtype=like.dtype,
            device=like.device if generator is None else generator.device,
        )
        return drawn.to(like.device)

    def observe(
        self, state: UniSimState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> UniSimState:
        """The frame joins the last ones; where `first` it stands for all of them."""
        age = torch.where(first, 0, state.age)
        held = self.lens.leave(forgotten(state.frames[:, -1], first))
        frame = self.lens.enter(self.cameras.read(obs, held))
        cache = self._kept(state, frame, action[:, 0], age == 0)
        vectors = forgotten(state.vectors, first)
        return self._arrived(state._replace(age=age, vectors=vectors, cache=cache), frame, obs)

    def _arrived(self, state: UniSimState, frame: Tensor, obs: Obs | None) -> UniSimState:
        """The state with one frame more; its vectors stay where nothing was sensed."""
        vectors = state.vectors if obs is None else self.vectors.read(obs, state.vectors)
        frames = torch.cat([state.frames[:, 1:], frame[:, None]], 1)
        alone = (state.age == 0)[:, None, None, None, None]
        frames = torch.where(alone, frame[:, None], frames)
        age = (state.age + 1).clamp(max=self.config.frames)
        return state._replace(frames=frames, age=age, looked=self.look(frames), vectors=vectors)

    def _kept(self, state: UniSimState, frame: Tensor, action: Tensor, begun: Tensor) -> Any:
        """The cache with a clean frame `[B, C, h, w]` that an action `[B, A]` led to."""
        net = self.averaged
        if net.patches is None:
            return ()
        one = frame.new_ones(len(frame), 1)
        condition = self.condition(net, state, action)[:, None]
        clean = frame[:, None], state.frames[:, None], condition, one, one * 0, one
        return net.keep(state.cache, net(*clean, cache=state.cache)[1], begun)

    def step(self, state: UniSimState, action: Tensor, noise: Tensor) -> Transition[UniSimState]:
        """o_{t+1} denoised from `noise` in `config.flow.steps` steps, and what the heads read off
        it; `action` `[B, 1, A]`, NaN where a part of it is not said."""
        net, heads = self.averaged, self.config.heads
        condition = self.condition(net, state, action[:, 0])
        frame = self.denoised(net, state, condition, action[:, 0], noise)
        frame = frame.clamp(-self.lens.limit, self.lens.limit)
        doubt = None
        if self.ensemble is not None:
            doubt = self.ensemble.uncertainty(state.looked, condition)
        cache = self._kept(state, frame, action[:, 0], state.age == 0)
        after = self._arrived(state._replace(cache=cache), frame, None)
        read = self.heads(after.looked, condition, state.vectors)
        after = after._replace(vectors={**read.sensors})
        ends = read.ends if heads.continues else None
        return Transition(
            after,
            reward=read.reward,
            continues=None if ends is None else torch.sigmoid(-ends),
            uncertainty=doubt,
        )

    def decode(self, state: UniSimState) -> dict[str, Tensor]:
        """The last frame, images in 0..1, and the vectors in their own units."""
        frame = self.lens.leave(state.frames[:, -1])
        return {**self.cameras.show(frame), **self.vectors.show(state.vectors)}

    # ------------------------------------------------------------------ optional parts

    def look(self, frames: Tensor) -> Tensor:
        """What heads and policies read of frames `[B, K, C, h, w]`, `[B, D]`."""
        found: Tensor = self.features_of(self.lens.leave(frames[:, -LOOKED_AT:]))
        return found

    def features(self, state: UniSimState) -> Tensor:
        """All that a policy may act on: what was seen, the vectors, and what was told as the
        conditions read it, one after the other."""
        pictures = state.looked
        known = [*state.vectors.values(), state.context.vectors.flatten(1)]
        robots = self.averaged.conditions.embodiments
        if robots > 1:
            known.append(F.one_hot(state.context.embodiment, robots))
        return torch.cat([pictures, *(x.to(pictures.dtype) for x in known)], 1)

    def observe_all(
        self, state: UniSimState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> UniSimState:
        """The states `[B, T, ...]` of a whole sequence; equal to a loop of `observe`."""
        held = self.lens.leave(state.frames[:, -1])
        seen = self.cameras.read_all(obs, held, first)
        frames, age = self.histories(state, self.lens.enter(seen), first)
        rows = first.shape[1]
        given, told = tree.map(
            lambda x: x[:, None].expand(-1, rows, *x.shape[1:]), (state.given, state.context)
        )
        vectors = self.vectors.read_all(obs, state.vectors, first)
        looked = self._looks(held, frames[:, :, -1], age)
        states = UniSimState(frames, age, looked, vectors, given, told, ())
        if self.averaged.patches is None:
            return states
        return states._replace(cache=self._caches(state, states, action[:, :, 0], first))

    def _looks(self, held: Tensor, frames: Tensor, age: Tensor) -> Tensor:
        """`look` at each row `[B, T, D]` of `frames` `[B, T, C, h, w]`, which follow a picture that
        is `held`; no tokenizer learns from it."""
        shown = self.lens.leave(frames).detach()
        before = torch.cat([held.detach()[:, None], shown[:, :-1]], 1)
        alone = (age <= 1)[..., None, None, None]
        both = torch.stack([torch.where(alone, shown, before), shown], 2)
        found: Tensor = self.features_of(both.flatten(0, 1))
        return found.unflatten(0, age.shape)

    @torch.no_grad()
    def _caches(
        self, state: UniSimState, states: UniSimState, action: Tensor, first: Tensor
    ) -> Cache:
        """The cache at each row `[B, T, ...]`: all frames pass at once, and each row sees its own
        stretch of what they leave."""
        net = self.averaged
        past = self.before(state, states, state.context)
        condition = net.conditions(action, state.context, past.vectors)
        one = condition.new_ones(first.shape)
        begun = first | (past.age == 0)
        since = torch.cat([torch.zeros_like(begun[:, :1]), begun[:, :-1]], 1)
        frames = states.frames[:, :, -1]
        clean = frames, past.frames, condition, one, one * 0, one
        entries = net(*clean, cache=state.cache, first=since)[1]
        return stretches(state.cache, entries, begun)

    def before(self, state: UniSimState, states: UniSimState, context: Context) -> UniSimState:
        """The state before each row `[B, T, ...]`, without cache, in a context `[B, ...]`."""

        def shifted(begin: Tensor, rows: Tensor) -> Tensor:
            return torch.cat([begin[:, None], rows[:, :-1]], 1)

        begin = state[:4]  # frames, age, looked, vectors
        frames, age, looked, vectors = tree.map(shifted, begin, states[:4])
        return UniSimState(frames, age, looked, vectors, state.given, context, ())

    def histories(self, state: UniSimState, frames: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The K last frames `[B, T, K, C, h, w]` at each row of `frames` `[B, T, C, h, w]`, and
        their ages `[B, T]`, going on from a state."""
        known, (rows, steps) = self.config.frames, first.shape
        at = torch.arange(steps, device=first.device).expand(rows, -1)
        begun = torch.where(first, at, -1).cummax(1).values
        age = torch.where(begun >= 0, at - begun, state.age[:, None] + at)
        back = torch.arange(known - 1, -1, -1, device=first.device)
        index = at[..., None] + known - torch.minimum(back, age[..., None])
        all_frames = torch.cat([state.frames, frames], 1)
        row = torch.arange(rows, device=first.device)[:, None, None]
        return all_frames[row, index], (age + 1).clamp(max=known)

    @property
    def scales(self) -> dict[str, float]:
        """Weights of the losses that `loss` returns."""
        return loss.scales(self)

    # ------------------------------------------------------------------ learning

    def training_noise(
        self, rows: int, steps: int, generator: Generator | None = None
    ) -> TrainingNoise:
        """All randomness of `loss` on `[rows, steps]` recorded rows, from one generator."""
        return loss.training_noise(self, rows, steps, generator)

    def loss(
        self, batch: Batch, state: UniSimState, noise: TrainingNoise | Tensor
    ) -> WorldModelLoss:
        """Losses `[B, T]` of the next frame, shortcuts, reward, end, sensors and ensemble.

        A row costs what it took to predict it; rows that begin an episode cost nothing. Noise is
        drawn by `training_noise`; a tensor `[T, B, C, h, w]` stands for prediction from pure noise.
        """
        return loss.losses(self, batch, state, noise)

    @torch.no_grad()
    def after_update(self) -> None:
        """The averaged weights follow, faster in the first updates; rewards, and sensors without
        bounds, are scaled by what was met."""
        self.updates += 1
        count = int(self.updates)
        rate = 1 - min(self.config.average, (1 + count) / (10 + count))
        slow: list[Tensor] = list(self.averaged.parameters())
        fast: list[Tensor] = list(self.denoiser.parameters())
        torch._foreach_lerp_(slow, fast, rate)
        self.lens.after_update()
        self.vectors.adopt()
        self.heads.size.moments.adopt()

    def denoise_in(self, steps: int) -> None:
        """From now on a frame is made in so many steps, whatever it was trained to be used with.

        Raises:
            ValueError: it is no power of two, or more than `flow.finest`.
        """
        settings = self.config.flow
        if not 1 <= steps <= settings.finest or steps & (steps - 1):
            raise ValueError(
                f"{steps} denoising steps were asked for; it learnt 1, 2, 4 .. {settings.finest}."
            )
        self.config = replace(self.config, flow=replace(settings, steps=steps))

    # ------------------------------------------------------------------ parts

    def condition(self, net: Denoiser, state: UniSimState, action: Tensor) -> Tensor:
        """c `[B, W]` of an action `[B, A]` taken in a state."""
        sensed = {n: v[:, None] for n, v in state.vectors.items()}
        found: Tensor = net.conditions(action[:, None], state.context, sensed)
        return found[:, 0]

    def denoised(
        self, net: Denoiser, state: UniSimState, condition: Tensor, action: Tensor, noise: Tensor
    ) -> Tensor:
        """The next frame `[B, C, h, w]`, not yet clipped; with guidance in two passes."""
        settings = self.config.flow
        one = condition.new_ones(len(condition))
        blank = None
        if settings.guidance != 1:
            sensed = {n: v[:, None] for n, v in state.vectors.items()}
            drop = net.conditions.without()
            blank = net.conditions(action[:, None], state.context, sensed, drop)[:, 0]

        def predict(z: Tensor, level: float, step: float) -> Tensor:
            told = one * level, one * (step if settings.steps > 1 else 0.0), one

            def given(c: Tensor) -> Tensor:
                rows = (x[:, None] for x in (z, state.frames, c, *told))
                return net(*rows, cache=state.cache)[0][:, 0]

            clean = given(condition)
            if blank is None:
                return clean
            free = given(blank)
            return free + settings.guidance * (clean - free)

        return flow.sample(predict, noise, settings.steps)


def context_of(obs: Mapping[str, Space]) -> dict[str, Space]:
    """Which of what is sensed is constant in an episode: text and which robot."""
    return {n: s for n, s in obs.items() if n in ("text", "text_embedding", "embodiment")}
