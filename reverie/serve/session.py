"""A world model that is played in: one state, moved on by actions, seen as pictures.

    s_0 = encode(o_0),    s_{t+n} = step(s_t, (a, .., a), noise)

The model is known by the interface alone. Noise comes from a generator that `begin` seeds: the same
seed and actions show the same pictures.

Legend: `A` action, `n` actions in a chunk, `F` frames that a step shows, `C h w` image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reverie.core.model import Clip, Transition, WorldModel
from reverie.core.rollout import encode
from reverie.core.spec import Space
from reverie.learn.device import Device
from reverie.serve.messages import text_bytes
from reverie.serve.worlds import Seen, World, colour
from reverie.viz.video import Frames

TEXT = "text"
"""The entry of `spec.context` that a person can type: UTF-8, padded with zeros."""


class Moment(NamedTuple):
    """What is seen and known after one action; `first` begins an episode."""

    picture: Frames
    """The model's, uint8 `[h, w, 3]`."""
    real: Frames | None
    """The simulator's."""
    row: Mapping[str, NDArray[Any]]
    """What the model predicts, by sensor, in the dtypes of its spaces."""
    action: NDArray[np.float32]
    """`[A]`, which led here; zeros where `first`."""
    decisions: int
    """Since the episode began."""
    first: bool = False
    reward: float | None = None
    """As the model predicts it."""
    continues: float | None = None
    """Probability that the episode goes on, as the model predicts it."""
    uncertainty: float | None = None
    """As the model tells it, in its own unit."""
    actual: float | None = None
    """The simulator's reward."""
    distance: float | None = None
    """Root mean square between the two pictures, of values in 0..1."""
    over: bool = False
    """The simulator's episode has ended."""

    @property
    def psnr(self) -> float | None:
        """-20 log10(distance) [dB]; None where they are equal or there is no other picture."""
        return -20 * math.log10(self.distance) if self.distance else None


class Session:
    """One model in one world. Use it from one thread."""

    def __init__(
        self,
        model: WorldModel[Any, Any],
        world: World,
        device: Device,
        camera: str = "",
        text: str = "",
    ) -> None:
        """`camera` is which picture is shown, by default the model's first; `text` what the episode
        begins with, where the model reads text.

        Raises:
            ValueError: the model shows no picture, or reads no text, or it does not fit.
        """
        self.model, self.world, self.device = model, world, device
        self.spec, self.camera, self.text = model.spec, camera_of(model, camera), ""
        self._given = bool(text)
        self._state: Any = None
        self._context: dict[str, Tensor] = {}
        self._generator = device.generator(0)
        self._last: Moment | None = None
        self.seed = 0
        if text:
            self._require_text(text)
            self.text = text

    @property
    def text_size(self) -> int:
        """Bytes of text that the model reads; 0 where it reads none."""
        space = self.spec.context.get(TEXT)
        return space.size if space is not None and space.dtype == "uint8" else 0

    @property
    def frame_time(self) -> float:
        """World time between the frames it shows [s]: dt, or n dt where a chunk shows one frame."""
        whole = self.spec.chunk > 1 and not isinstance(self.model, Clip)
        return self.spec.dt * (self.spec.chunk if whole else 1)

    @property
    def recordable(self) -> dict[str, Space]:
        """The sensors that every decision's row has; none where a chunk shows one frame."""
        if self.frame_time != self.spec.dt:
            return {}
        return {name: self.spec.obs[name] for name in self.last.row}

    @property
    def last(self) -> Moment:
        """The present."""
        if self._last is None:
            raise RuntimeError("No episode has begun; call `begin`.")
        return self._last

    @torch.no_grad()
    def begin(self, seed: int) -> Moment:
        """A new episode, from the world's first row."""
        seen = self.world.begin(seed)
        self.seed, self._generator = seed, self.device.generator(seed)
        context = {k: v[None] for k, v in seen.obs.items() if k in self.spec.context}
        self._context = self.device.put(context)
        names = [*self.spec.obs, *(f"{name}.present" for name in self.spec.obs)]
        obs = self.device.put({n: np.asarray(seen.obs[n])[None] for n in names if n in seen.obs})
        if TEXT in self._context and not self._given:
            self.text = _words(self._context[TEXT][0])
        return self._encoded(obs, seen)

    @torch.no_grad()
    def tell(self, text: str) -> Moment:
        """Go on with another text: by the model's `told(state, context) -> state` where it has one,
        else anew from what it shows now.

        Raises:
            ValueError: the model reads no text, or this one does not fit.
        """
        self._require_text(text)
        before = self.last
        self.text, self._given = text, True
        context = self._said()
        if not hasattr(self.model, "told"):
            shown = {name: value[None] for name, value in before.row.items()}
            return self._encoded(self.device.put(shown), None)
        with self.device.autocast():
            self._state = self.model.told(self._state, context)
        self._context = context
        self._last = self._opening(before.real, before.over, before.decisions)
        return self._last

    @torch.no_grad()
    def advance(self, action: NDArray[np.float32]) -> list[Moment]:
        """One step of the model under an action `[A]`, held for its n decisions: F moments."""
        before, count = self._state, self.spec.chunk
        taken = self.device.put(np.tile(action.astype(np.float32), (1, count, 1)))
        with self.device.autocast():
            noise = self.model.noise(1, self._generator)
            step: Transition[Any] = self.model.step(before, taken, noise)
            shown = self._shown(before, step)
        frames = len(next(iter(shown.values())))
        moments = []
        for k in range(frames):
            seen = [
                self.world.step(action) for _ in range(count // frames if self.world.beside else 0)
            ]
            row = {name: values[k] for name, values in shown.items()}
            heads = step if k == frames - 1 else Transition(None)
            moments.append(self._moment(row, action, count // frames, heads, seen))
            self._last = moments[-1]
        self._state = step.state
        return moments

    def close(self) -> None:
        """Give back what the world holds."""
        self.world.close()

    # ------------------------------------------------------------------ inside

    def _encoded(self, obs: dict[str, Tensor], seen: Seen | None) -> Moment:
        context = self._said()
        obs = {**obs, **{name: context[name] for name in context if name in self.spec.obs}}
        lacking = [name for name in self.spec.obs if name not in obs]
        if lacking:
            raise ValueError(
                f"The model reads {', '.join(self.spec.obs)}, and there is no {', '.join(lacking)} "
                f"to begin with; begin in the environment or the episodes it learnt from."
            )
        with self.device.autocast():
            self._state = encode(self.model, obs, context or None, self._generator)
        self._context = context
        last = self._last if seen is None else None
        real, over = (last.real, last.over) if last else (seen.picture if seen else None, False)
        self._last = self._opening(real, over)
        return self._last

    def _opening(self, real: Frames | None, over: bool, decisions: int = 0) -> Moment:
        with self.device.autocast():
            row = self._row(self.model.decode(self._state), 0)
        picture = colour(row[self.camera])
        zeros = np.zeros(self.spec.action.shape, np.float32)
        distance = _distance(picture, real)
        return Moment(picture, real, row, zeros, decisions, True, distance=distance, over=over)

    def _moment(
        self,
        row: dict[str, NDArray[Any]],
        action: NDArray[np.float32],
        decisions: int,
        heads: Transition[Any],
        seen: list[Seen],
    ) -> Moment:
        picture, last = colour(row[self.camera]), self.last
        real = seen[-1].picture if seen else last.real if self.world.beside else None
        over = bool(seen and seen[-1].over)
        told = (None if head is None else float(head[0]) for head in heads[1:])
        reward, continues, _, uncertainty = told
        return Moment(
            picture,
            real,
            row,
            action,
            last.decisions + decisions,
            reward=reward,
            continues=continues,
            uncertainty=uncertainty,
            actual=sum(s.reward for s in seen) if seen else None,
            distance=None if last.over else _distance(picture, real),
            over=over,
        )

    def _shown(self, before: Any, step: Transition[Any]) -> dict[str, NDArray[Any]]:
        """What a step shows, each `[F, ...]`."""
        if self.spec.chunk > 1 and isinstance(self.model, Clip):
            clip = self.model.frames(before, step)
            return {name: self._typed(name, v[0]) for name, v in clip.items() if self._kept(name)}
        row = self._row(self.model.decode(step.state), 0)
        return {name: value[None] for name, value in row.items()}

    def _row(self, decoded: Mapping[str, Tensor], index: int) -> dict[str, NDArray[Any]]:
        return {n: self._typed(n, v[index]) for n, v in decoded.items() if self._kept(n)}

    def _kept(self, name: str) -> bool:
        return name in self.spec.obs

    def _typed(self, name: str, values: Tensor) -> NDArray[Any]:
        """In the dtype of the sensor's space; pictures in bytes."""
        space: Space = self.spec.obs[name]
        if space.is_image and values.dtype.is_floating_point:
            if not bool(values.isfinite().all()):
                raise ValueError("The model's picture is not finite: it has diverged. Reset it.")
            values = (values.float().clamp(0, 1) * 255).round()
        elif not space.torch_dtype.is_floating_point and values.dtype.is_floating_point:
            values = values.round()
        return values.to("cpu", space.torch_dtype).numpy()

    def _said(self) -> dict[str, Tensor]:
        """The context, with the text that was typed."""
        if not self._given:
            return self._context
        raw = text_bytes(self.text, self.text_size)
        padded = np.frombuffer(raw.ljust(self.text_size, b"\0"), np.uint8).copy()
        return {**self._context, **self.device.put({TEXT: padded[None]})}

    def _require_text(self, text: str) -> None:
        if not self.text_size:
            raise ValueError(
                f"The model reads no text; its context is {', '.join(self.spec.context) or 'empty'}"
                "."
            )
        text_bytes(text, self.text_size)


def camera_of(model: WorldModel[Any, Any], camera: str = "") -> str:
    """The sensor that is shown.

    Raises:
        ValueError: the model shows no pictures, or none of that name.
    """
    cameras = [name for name, space in model.spec.obs.items() if space.is_image]
    if "obs" not in model.spec.provides or not cameras:
        raise ValueError(
            f"To be played a model must show pictures: this one reads {', '.join(model.spec.obs)} "
            f"and predicts {', '.join(sorted(model.spec.provides)) or 'nothing'}. Train one of a "
            "family that predicts observations on pictures, with --env.pixels."
        )
    if camera and camera not in cameras:
        raise ValueError(f"The model has no camera {camera!r}; it has {', '.join(cameras)}.")
    return camera or cameras[0]


def _words(values: Tensor) -> str:
    """Text from bytes padded with zeros."""
    return bytes(values.cpu().tolist()).rstrip(b"\0").decode(errors="replace")


def _distance(one: Frames, other: Frames | None) -> float | None:
    """Root mean square of the difference, of values in 0..1; None where they do not compare."""
    if other is None or one.shape != other.shape:
        return None
    return float(np.sqrt(np.mean(((one.astype(np.float64) - other) / 255) ** 2)))
