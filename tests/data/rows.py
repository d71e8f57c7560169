"""Rows that are a function of where they stand, so that a test can tell what it must read back."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from reverie.core.spec import Space
from reverie.data import EpisodeStore, Replay

ACTION = Space((2,), low=-1, high=1)
PROPRIO = {"pose": Space((3,)), "height": Space(())}
SENSORS = {
    "pose": Space((3,)),
    "front": Space((3, 24, 20), "uint8"),
    "wrist": Space((1, 40, 40), "uint8"),
    "depth": Space((1, 24, 24)),
    "range": Space((16, 16), "int64"),
    "text": Space((), "int64"),
    "contact": Space((4,), "bool"),
}
LATENT = {"deter": Space((5,)), "stoch": Space((6,))}


def value(space: Space, *seed: int) -> np.ndarray:
    """Values of a space that depend on the seed only."""
    rng = np.random.default_rng(seed)
    if space.dtype == "float32":
        return rng.standard_normal(space.shape).astype(np.float32)
    high = {"uint8": 256, "int64": 60_000, "bool": 2}[space.dtype]
    return rng.integers(0, high, space.shape).astype(space.dtype)


def row(obs, stream: int, episode: int, t: int, length: int, version: int = 0) -> dict:
    """Row t of an episode of `length` rows."""
    seed = (version, stream, episode, t)
    first = t == 0
    return {
        **{name: value(space, *seed, i) for i, (name, space) in enumerate(obs.items())},
        "action": np.zeros(2, np.float32) if first else value(ACTION, *seed, 99),
        "reward": 0.0 if first else float(t + 100 * episode),
        "first": first,
        "last": t == length - 1,
        "terminated": t == length - 1 and episode % 2 == 1,
    }


def episode(obs, stream: int, number: int, length: int, version: int = 0) -> list[dict]:
    """All rows of an episode."""
    return [row(obs, stream, number, t, length, version) for t in range(length)]


def latent(stream: int, number: int, t: int) -> dict[str, np.ndarray]:
    """What a model made of a row; exact in float16."""
    base = np.float32(stream * 512 + number * 32 + t / 16)
    return {"deter": np.full(5, base, np.float32), "stoch": np.full(6, -base, np.float32)}


def stored(directory: Path, obs=PROPRIO, **options) -> EpisodeStore:
    """A store of these rows."""
    return EpisodeStore(directory, obs, ACTION, **options)


def record(target: EpisodeStore | Replay, stream: int, number: int, length: int, stop=None, **kw):
    """Append an episode, or its first `stop` rows."""
    obs = (target.store if isinstance(target, Replay) else target).schema.obs
    for t in range(length if stop is None else stop):
        if isinstance(target, Replay):
            target.append(
                stream, row(obs, stream, number, t, length, **kw), latent(stream, number, t)
            )
        else:
            target.append(stream, row(obs, stream, number, t, length, **kw))


def same(read: dict, rows: list[dict]) -> None:
    """Fail unless what was read are these rows, bit by bit."""
    assert set(read) >= set(rows[0])
    for name, values in read.items():
        if name in rows[0]:
            expected = np.stack([np.asarray(r[name], values.dtype) for r in rows])
            assert values.dtype == expected.dtype and values.tobytes() == expected.tobytes(), name


def equal(a, b) -> bool:
    """Whether two samples hold the same bits."""
    one, two = (torch.utils._pytree.tree_leaves((s.batch, s.state, s.known)) for s in (a, b))
    return len(one) == len(two) and all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


class Life:
    """Two robots whose rows depend on the time only, and a learner that writes back latents."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay

    def steps(self, begin: int, end: int) -> list[str]:
        """Record and learn from one time to another; what was sampled at each, as a checksum."""
        return [self._step(time) for time in range(begin, end)]

    def _step(self, time: int) -> str:
        obs = self.replay.store.schema.obs
        for stream, length in ((0, 13), (1, 7)):
            number, t = divmod(time, length)
            known = latent(stream, number, t) if time > 20 else None
            self.replay.append(stream, row(obs, stream, number, t, length), known)
        if not self.replay.ready:
            return ""
        sample = self.replay.sample()
        crc = 0
        for x in torch.utils._pytree.tree_leaves((sample.batch, sample.state, sample.known)):
            crc = zlib.crc32(x.contiguous().numpy().tobytes(), crc)
        shape = sample.batch.reward.shape
        written = (sample.batch.reward + crc % 61).reshape(*shape, 1)
        self.replay.write_back(
            sample.ids, {"deter": written.expand(*shape, 5), "stoch": -written.expand(*shape, 6)}
        )
        return f"{time} {crc:08x}"
