"""A linear world with known noise, so that the true law of every future is known in closed form.

    x' = decay x + gain a + sigma rough e,   e ~ N(0, 1) in each of two entries

`System` says what is true, `record` plays it, `law` is the true law of its future, and `Known` is a
world model of it: right by default, or wrong in the way that its options say.

Legend: `N` windows, `T` rows, `H` horizon, `D` = 2 entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from reverie.core.model import Batch, Obs, Transition
from reverie.core.spec import Space, Spec
from reverie.eval.windows import Windows

SPEC = Spec(
    obs={
        "position": Space((2,), unit="m"),
        "rough": Space((1,)),
        "camera": Space((1, 8, 8), dtype="uint8"),
    },
    action=Space((2,), low=-1.0, high=1.0),
    dt=0.1,
    provides=frozenset({"obs", "reward", "uncertainty"}),
)


@dataclass(frozen=True)
class System:
    """The numbers of the world."""

    decay: float = 0.9
    gain: float = 0.5
    sigma: float = 0.1
    rough: tuple[float, ...] = (1.0,)
    """Scales of the noise; each episode has one of them, and senses it."""


class Known:
    """The model of a system.

    Args:
        system: what it believes.
        spread: its noise, in units of the true one; 0 makes it deterministic.
        bias: added to the position that it decodes once it has imagined.
        ignore_action: imagines as if the action were zero.
        constant: imagines that nothing changes (and adds its noise once to nothing).
        vector: leaves the camera out.
    """

    def __init__(
        self,
        system: System = System(),
        spread: float = 1.0,
        bias: float = 0.0,
        ignore_action: bool = False,
        constant: bool = False,
        vector: bool = True,
    ) -> None:
        self.system, self.spread, self.bias = system, spread, bias
        self.ignore_action, self.constant = ignore_action, constant
        obs = {k: v for k, v in SPEC.obs.items() if k != "camera" or not vector}
        self.spec = Spec(obs, SPEC.action, SPEC.dt, provides=SPEC.provides)

    def initial(self, batch: int, context: Obs | None = None) -> dict[str, Tensor]:
        return {"x": torch.zeros(batch, 2), "rough": torch.ones(batch, 1)}

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        return torch.randn(batch, 2, generator=generator) * self.spread

    def observe(
        self, state: dict[str, Tensor], action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        return {"x": obs["position"], "rough": obs["rough"]}

    def step(
        self, state: dict[str, Tensor], action: Tensor, noise: Tensor
    ) -> Transition[dict[str, Tensor]]:
        x, rough, system = state["x"], state["rough"], self.system
        if not self.constant:
            push = 0 if self.ignore_action else system.gain * action[:, 0]
            x = system.decay * x + push + system.sigma * rough * noise + self.bias
        after = {"x": x, "rough": rough}
        return Transition(after, reward=-x.square().sum(1), uncertainty=rough[:, 0])

    def decode(self, state: dict[str, Tensor]) -> Obs:
        shown = {"position": state["x"], "rough": state["rough"]}
        if "camera" in self.spec.obs:
            shown["camera"] = picture(state["x"]).float() / 255
        return shown


def picture(x: Tensor, size: int = 8) -> Tensor:
    """A soft spot at x, bytes `[..., 1, size, size]`; -2..2 spans the picture."""
    line = torch.linspace(-2, 2, size)
    across, down = ((line - x[..., k, None]).square() for k in range(2))
    spot = torch.exp(-0.5 * (down[..., :, None] + across[..., None, :]) / 0.5**2)
    return (255 * spot).round().to(torch.uint8).unsqueeze(-3)


def record(
    system: System,
    episodes: int,
    rows: int,
    each: int = 1,
    seed: int = 0,
    vector: bool = True,
) -> Windows:
    """Windows of `rows` rows under uniform random actions, `each` in a row from every episode."""
    generator = torch.Generator().manual_seed(seed)
    length = rows * each
    action = 2 * torch.rand(episodes, length, 2, generator=generator) - 1
    action[:, 0] = 0
    kinds = torch.tensor(system.rough)[torch.arange(episodes) % len(system.rough)]
    wide = system.gain / math.sqrt(3 * (1 - system.decay**2) + 1e-3)
    xs = [wide * torch.randn(episodes, 2, generator=generator)]
    for t in range(1, length):
        noise = torch.randn(episodes, 2, generator=generator) * kinds[:, None]
        xs.append(system.decay * xs[-1] + system.gain * action[:, t] + system.sigma * noise)
    x = torch.stack(xs, 1)
    obs = {"position": x, "rough": kinds[:, None, None].expand(-1, length, 1).clone()}
    if not vector:
        obs["camera"] = picture(x)
    flags = torch.zeros(episodes, length, dtype=torch.bool)
    first = flags.clone()
    first[:, 0] = True
    reward = -x.square().sum(2) * ~first
    whole = Batch(obs, action, reward, first, flags, flags)
    cut = {k: _cut(v, rows) for k, v in whole.obs.items()}
    batch = Batch(cut, *(_cut(v, rows) for v in whole[1:]))
    return Windows(batch, torch.arange(episodes).repeat_interleave(each))


def law(
    system: System, windows: Windows, observed: int, horizon: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[N, H, D]` and standard deviation `[N, H, 1]` of the position after the last observed
    row, given the actions really taken, and where it really was `[N, H, D]`."""
    x, variance = windows.batch.obs["position"][:, observed - 1].double(), 0.0
    rough = windows.batch.obs["rough"][:, :1].double()
    means, scales = [], []
    for k in range(horizon):
        x = system.decay * x + system.gain * windows.batch.action[:, observed + k].double()
        variance = system.decay**2 * variance + system.sigma**2
        means.append(x)
        scales.append(math.sqrt(variance) * rough)
    truth = windows.batch.obs["position"][:, observed : observed + horizon].double()
    return torch.stack(means, 1), torch.cat(scales, 1), truth


def gaussian_crps(mean: Tensor, deviation: Tensor, truth: Tensor) -> Tensor:
    """s (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)), z = (y - m) / s (Gneiting et al. 2005)."""
    z = (truth - mean) / deviation
    upper = torch.special.ndtr(z)
    bell = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return deviation * (z * (2 * upper - 1) + 2 * bell - 1 / math.sqrt(math.pi))


def _cut(values: Tensor, rows: int) -> Tensor:
    return values.unflatten(1, (-1, rows)).flatten(0, 1)
