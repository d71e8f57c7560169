"""DIAMOND (Alonso et al. 2024) as a world model of its own, for `bench/diamond.py`: its
diffusion on our U-Net, and a check of the equations against closed forms.

Legend: `B` batch, `T` rows, `K` frames looked back to, `N` frames, `C h w` image, `A` action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from reverie.core.model import Batch, Obs, Transition, WorldModelLoss
from reverie.core.spec import Space
from reverie.models.unisim import UniSim, UniSimConfig
from reverie.models.unisim.config import FlowConfig, HeadsConfig, UNetConfig
from reverie.models.unisim.model import UniSimState
from reverie.models.unisim.unet import UNet
from reverie.nn.conditions import Conditions, ConditionsConfig, whole

FRAMES, WIDTH = 4, 256
"""K and C of DIAMOND."""
PUBLISHED = (64, 64, 64, 64)
"""Its channels."""
DATA, OFFSET, LEAST, MOST, FIRST, RHO = 0.5, 0.3, 2e-3, 20.0, 5.0, 7.0
"""sigma_data, sigma of the offset, least and most sigma, first sigma of the sampler, rho."""


class Scales(NamedTuple):
    """What a noisy frame, the network's input and its output are scaled with, `[...]` each."""

    skip: Tensor
    out: Tensor
    into: Tensor
    told: Tensor
    """c_noise: what the network is told of the noise."""


def scales(sigma: Tensor) -> Scales:
    """Of a noise level (Karras et al. 2022, table 1; the offset as in DIAMOND).

    c_skip = d^2 / (s^2 + d^2), c_out = s sqrt(c_skip), c_in = 1 / sqrt(s^2 + d^2),
    c_noise = log(s) / 4,                 s^2 = sigma^2 + offset^2, d = sigma_data
    """
    s = (sigma**2 + OFFSET**2).sqrt()
    skip = DATA**2 / (s**2 + DATA**2)
    return Scales(skip, s * skip.sqrt(), (s**2 + DATA**2).rsqrt(), s.log() / 4)


def levels(steps: int) -> Tensor:
    """sigma_i = (a + i / (n - 1) (b - a))^rho, a and b the rho-th roots of the first and the least
    sigma, i = 0..n-1, and 0 after them: `[n + 1]`."""
    a, b = FIRST ** (1 / RHO), LEAST ** (1 / RHO)
    return torch.cat([(a + torch.linspace(0, 1, steps) * (b - a)) ** RHO, torch.zeros(1)])


def euler(denoise: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """x + (sigma' - sigma) (x - D(x, sigma)) / sigma from each sigma to the next; x begins as plain
    noise, not noise times the first sigma, as published."""
    x, sigmas = noise, levels(steps).to(noise)
    for sigma, after in pairwise(sigmas):
        x = x + (after - sigma) * (x - denoise(x, sigma)) / sigma
    return x


def in_bytes(x: Tensor) -> Tensor:
    """What is left of a picture in -1..1 when it is stored in bytes, rounded down as published."""
    return (x.clamp(-1, 1).add(1).div(2) * 255).floor() / 255 * 2 - 1


class DiamondNoise(NamedTuple):
    """All randomness of one loss."""

    sigma: Tensor
    """`[B]`, log-normal, clipped."""
    pixels: Tensor
    """Standard normal `[B, C, h, w]`."""
    offset: Tensor
    """Standard normal `[B, C, 1, 1]`."""


class DiamondState(NamedTuple):
    """What the model knows."""

    seen: UniSimState
    actions: Tensor
    """`[B, K, A]` that led to the last frames, NaN where there was none."""


class Diamond(nn.Module):
    """A `WorldModel` that predicts as DIAMOND does: D(z) = c_skip z + c_out F(c_in z, past, c).

    F is the U-Net of a `UniSim` of DIAMOND's size, whose reading of pictures is used too. Earlier
    frames come divided by sigma_data, and all K actions are read. F is what the U-Net adds to the
    frame before; its maps of position are zero and stay so.
    """

    def __init__(self, obs: Mapping[str, Space], action: Space, dt: float, steps: int = 3) -> None:
        super().__init__()
        self.seen, self.steps = UniSim(obs, action, dt, at_size(PUBLISHED)), steps
        self.spec = self.seen.spec
        self.seen.requires_grad_(False)
        unet, self.level = self.seen.denoiser.unet, self.seen.denoiser.level
        assert unet is not None
        self.unet = unet
        for part in (self.unet, self.level):
            part.requires_grad_(True)
        without_maps(self.unet)
        stacked = Space((FRAMES * action.size,), low=-1.0, high=1.0)
        self.actions = Conditions(whole(stacked), config=ConditionsConfig(WIDTH, WIDTH))
        self.scales = {"denoising": 1.0}

    def initial(self, batch: int, context: Obs | None = None) -> DiamondState:
        """Grey frames and no actions."""
        seen = self.seen.initial(batch, context)
        unknown = seen.frames.new_full((batch, FRAMES, self.spec.action.size), torch.nan)
        return DiamondState(seen, unknown)

    def noise(self, batch: int, generator: Generator | None = None) -> Tensor:
        """Where sampling begins `[B, C, h, w]`."""
        return self.seen.noise(batch, generator)

    def observe(
        self, state: DiamondState, action: Tensor, obs: Obs, first: Tensor, noise: Tensor
    ) -> DiamondState:
        """The frame and the action `[B, 1, A]` join the last ones."""
        actions = torch.cat([state.actions[:, 1:], action], 1)
        actions = torch.where(first[:, None, None], torch.nan, actions)
        return DiamondState(self.seen.observe(state.seen, action, obs, first, noise), actions)

    def step(self, state: DiamondState, action: Tensor, noise: Tensor) -> Transition[DiamondState]:
        """The next frame in `steps` Euler steps."""
        actions = torch.cat([state.actions[:, 1:], action], 1)

        def denoise(z: Tensor, sigma: Tensor) -> Tensor:
            c = scales(sigma.expand(len(z)))
            f = self.network(z, c, state.seen.frames, actions)
            return in_bytes(wide(c.skip) * z + wide(c.out) * f)

        frame = euler(denoise, noise, self.steps)
        frames = torch.cat([state.seen.frames[:, 1:], frame[:, None]], 1)
        age = (state.seen.age + 1).clamp(max=FRAMES)
        return Transition(DiamondState(state.seen._replace(frames=frames, age=age), actions))

    def decode(self, state: DiamondState) -> dict[str, Tensor]:
        """The last frame in 0..1."""
        return self.seen.decode(state.seen)

    def network(self, z: Tensor, c: Scales, before: Tensor, actions: Tensor) -> Tensor:
        """F `[N, C, h, w]` of z, the frames before `[N, K, C, h, w]` and actions `[N, K, A]`."""
        context = self.actions.encode(len(z))
        condition = self.actions(actions.flatten(1)[:, None], context)[:, 0] + self.level(c.told)
        past = before / DATA
        f: Tensor = self.unet(wide(c.into) * z, past, condition) - past[:, -1]
        return f

    def training_noise(self, rows: int, steps: int, generator: Generator | None) -> DiamondNoise:
        """sigma = exp(1.2 n - 0.4) within bounds, and the noise of one frame of each sequence."""
        pixels = self.noise(rows, generator)
        normal = torch.randn(rows, generator=generator)
        offset = torch.randn(rows, pixels.shape[1], 1, 1, generator=generator)
        return DiamondNoise((1.2 * normal - 0.4).exp().clamp(LEAST, MOST), pixels, offset)

    def loss(self, batch: Batch, state: DiamondState, noise: DiamondNoise) -> WorldModelLoss:
        """mean (F - (x - c_skip z) / c_out)^2 `[B, 1]` of the last row x of each sequence, with
        z = x + sigma n + offset n'; nothing where that row begins an episode."""
        args = state.seen, batch.action, batch.obs, batch.first, noise.pixels
        seen = self.seen.observe_all(*args).frames
        x, before = seen[:, -1, -1], seen[:, -2]
        begun = batch.first.flip(1).cumsum(1).flip(1) > 0
        actions = torch.where(begun[..., None], torch.nan, batch.action)[:, -FRAMES:]
        z, c = x + wide(noise.sigma) * noise.pixels + OFFSET * noise.offset, scales(noise.sigma)
        aim = (x - wide(c.skip) * z) / wide(c.out)
        away = (self.network(z, c, before, actions) - aim).square().flatten(1).mean(1)
        return WorldModelLoss({"denoising": (away * ~batch.first[:, -1])[:, None]}, ())


def without_maps(net: UNet) -> None:
    """Its maps of position are zero and stay so."""
    for maps in net.places:
        maps.data.zero_()
        maps.requires_grad_(False)


def wide(x: Tensor) -> Tensor:
    """`[N]` to `[N, 1, 1, 1]`."""
    return x[:, None, None, None]


def at_size(channels: tuple[int, ...]) -> UniSimConfig:
    """DIAMOND's numbers as our family has them: pixels, no shortcut, nothing beside the frames."""
    return UniSimConfig(
        frames=FRAMES,
        width=WIDTH,
        unet=UNetConfig(channels=channels, blocks=2, patch=1, attention=1),
        flow=FlowConfig(steps=3, drop=0.0, context=0.0, shortcut=0.0, unroll=0.0),
        heads=HeadsConfig(members=0, reward=False, continues=False),
    )


def check() -> None:
    """The equations against closed forms."""
    generator = torch.Generator().manual_seed(0)
    sigma = torch.tensor([2e-3, 0.1, 1.0, 5.0])
    c, total = scales(sigma), sigma**2 + OFFSET**2
    ones = torch.ones(4)  # data of variance d^2: input and target have variance one at any sigma
    torch.testing.assert_close(c.into**2 * (DATA**2 + total), ones)
    aimed = ((1 - c.skip) ** 2 * DATA**2 + c.skip**2 * total) / c.out**2
    torch.testing.assert_close(aimed, ones)
    torch.testing.assert_close((4 * c.told).exp() ** 2, total)
    ends = levels(3)
    middle = ((FIRST ** (1 / RHO) + LEAST ** (1 / RHO)) / 2) ** RHO
    torch.testing.assert_close(ends, torch.tensor([FIRST, middle, LEAST, 0.0]))
    noise = torch.randn(2, 3, 64, 64, generator=generator)
    factor = torch.ones(())  # where D(z) = c_skip z, sampling is a product of numbers
    for now, after in pairwise(ends):
        factor = factor * (1 + (after - now) / now * (1 - scales(now).skip))
    found = euler(lambda z, s: scales(s).skip * z, noise, 3)
    torch.testing.assert_close(found, factor * noise, atol=1e-5, rtol=1e-3)
    shades = torch.arange(256) / 127.5 - 1
    torch.testing.assert_close(in_bytes(shades + 1e-3), shades, atol=1e-6, rtol=0)
    _check_model(generator)
    print("all equations hold")


def _check_model(generator: Generator) -> None:
    """What the network is given, and the loss of a network that says nothing."""
    obs = {"image": Space((3, 64, 64), "uint8", 0, 255)}
    model = Diamond(obs, Space((2,), low=-1.0, high=1.0), 0.1)
    pixels = torch.randint(256, (3, 5, 3, 64, 64), generator=generator, dtype=torch.uint8)
    first = torch.zeros(3, 5, dtype=torch.bool)
    first[0, 0] = first[1, 2] = first[2, 4] = True
    action = torch.rand(3, 5, 2, generator=generator)
    action[first] = 0
    none, given = torch.zeros_like(first), list[Any]()
    batch = Batch({"image": pixels}, action, torch.zeros(3, 5), first, none, none)
    network = model.network
    model.network = lambda *x: given.append(x) or network(*x)  # type: ignore[method-assign, func-returns-value]
    noise = model.training_noise(3, 5, generator)
    away = model.loss(batch, model.initial(3), noise).losses["denoising"][:, 0]
    x, (z, c, before, actions) = pixels.float() / 127.5 - 1, given[0]
    torch.testing.assert_close(before[0], x[0, :4])
    torch.testing.assert_close(before[1], x[1, [2, 2, 2, 3]])
    assert actions[0].equal(action[0, 1:])
    assert actions[1, :2].isnan().all() and actions[1, 2:].equal(action[1, 3:])
    aim = (x[:2, -1] - wide(c.skip)[:2] * z[:2]) / wide(c.out)[:2]
    torch.testing.assert_close(away[:2], aim.square().mean((1, 2, 3)))
    assert float(away[2].detach()) == 0.0
    state = model.initial(1)
    for t in range(4):  # a loop of `observe` ends with what `loss` reads
        now = {"image": pixels[:1, t]}
        state = model.observe(state, action[:1, t][:, None], now, first[:1, t], noise.pixels[:1])
    torch.testing.assert_close(state.seen.frames[0], before[0])
    model.step(state, action[:1, 4][:, None], noise.pixels[:1])
    assert given[1][3][0].equal(actions[0])
