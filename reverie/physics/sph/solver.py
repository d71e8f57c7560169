"""Smoothed particles: n substeps of a liquid and tools, by kernels or by torch.

Legend: `B` worlds, `N` particles, `K` tools.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reverie.physics import kernels
from reverie.physics.backend import Backend, runner
from reverie.physics.sph.material import SPHParams, SPHState
from reverie.physics.sph.neighbours import Period
from reverie.physics.sph.program import SPHProgram
from reverie.physics.sph.reference import Law, substep
from reverie.physics.tools import Shape, Tools, require_finite

COURANT = 0.4
"""Of h, what sound may go in a substep."""
VISCOUS = 0.125
"""Of h^2 / nu."""


class SPH:
    """A liquid of particles among tools of given shapes; walls and floors are tools."""

    def __init__(
        self,
        shapes: Sequence[Shape] = (),
        *,
        h: float,
        dt: float,
        alpha: float = 0.02,
        delta: float = 0.1,
        period: Period = (0.0, 0.0, 0.0),
        backend: Backend = "auto",
        keep: bool = True,
    ) -> None:
        """`h` [m], half the reach of a particle, is about 1.5 times their spacing; dt [s].

        `alpha` is artificial viscosity, which acts like nu = alpha h c_0 / 10 and damps the ringing
        of a liquid that has hardly any of its own; `delta` spreads density. `period` [m] makes
        space end where it began, along each axis where it is not 0. `keep` says whether each
        substep's particles are kept for the gradient (28 bytes a particle in float32), or computed
        again. A tool's friction says how it holds the liquid: at 0 it slips, from 0.5 on it sticks.

        Raises:
            ValueError: h or dt is not positive, or another number is negative.
            ModuleNotFoundError: `backend="warp"`, and Warp is not installed.
        """
        if not (h > 0 and dt > 0):
            raise ValueError(f"SPH got h={h} and dt={dt}; both must be positive.")
        if min(alpha, delta, *period) < 0 or len(period) != 3:
            raise ValueError(
                f"SPH got alpha={alpha}, delta={delta}, period={period}; none may be negative, and "
                "a period has three lengths."
            )
        self.shapes = tuple(Shape(s) for s in shapes)
        self.law, self.keep = Law(h, dt, alpha, delta, period), keep
        self.backend = runner(backend)
        self._programs: dict[tuple[torch.dtype, torch.device], SPHProgram] = {}

    @property
    def dt(self) -> float:
        """Of a substep [s]."""
        return self.law.dt

    def __call__(
        self, state: SPHState, params: SPHParams, tools: Tools, substeps: int = 1
    ) -> tuple[SPHState, Tools, Tensor]:
        """The state after `substeps`, the tools where they are then, and the mean force and torque
        `[B, K, 6]` [N, N m] on each, about its place.

        Raises:
            FloatingPointError: a tool or a particle is NaN or infinite, or particles flew off.
        """
        require_finite(tools)
        run = self._warp if self.backend == "warp" else self._torch
        state, tools, impulse = run(state, params, tools, substeps)
        return state, tools, impulse / (substeps * self.dt)

    def stable_dt(self, params: SPHParams) -> float:
        """The largest stable dt [s]: 0.4 h / c_0, or h^2 / (8 nu) where that is less.

        nu = eta / rho_0 + alpha h c_0 / 10 is all viscosity.
        """
        h, law = self.law.h, self.law
        nu = params.viscosity / params.density + law.alpha * h * params.sound / 10
        sound = float((COURANT * h / params.sound).min())
        return min(sound, float((VISCOUS * h * h / nu.clamp_min(1e-30)).min()))

    def check(self, params: SPHParams) -> None:
        """Whether these parameters can be simulated.

        Raises:
            ValueError: a mass, density or speed of sound is not positive (the viscosity is
                negative), or dt is above the stable one; the message says which, and the limit.
        """
        for name, least in (
            ("mass", True),
            ("density", True),
            ("sound", True),
            ("viscosity", False),
        ):
            value = getattr(params, name)
            if not bool(((value > 0) | (value == 0) & (not least)).all()):
                raise ValueError(
                    f"SPH {name} spans {float(value.min())} to {float(value.max())}; it must be "
                    f"{'positive' if least else 'at least 0'}."
                )
        most = self.stable_dt(params)
        if not self.dt <= most:
            raise ValueError(
                f"SPH dt is {self.dt:.3g} s, and with h={self.law.h:.3g} m, sound of "
                f"{float(params.sound.max()):.3g} m/s and a viscosity of "
                f"{float(params.viscosity.max()):.3g} Pa s at most {most:.3g} s is stable: take "
                "that, a larger h, slower sound (ten times the largest speed is enough), or less "
                "viscosity."
            )
        spacing = float((params.mass / params.density.unsqueeze(1)).max()) ** (1 / 3)
        if not 1.0 <= self.law.h / spacing <= 3.0:
            raise ValueError(
                f"SPH h is {self.law.h:.3g} m, and particles of this mass stand {spacing:.3g} m "
                f"apart: take h between 1 and 3 times that; {1.5 * spacing:.3g} m is usual."
            )

    def _torch(
        self, state: SPHState, params: SPHParams, tools: Tools, substeps: int
    ) -> tuple[SPHState, Tools, Tensor]:
        total = torch.zeros_like(tools.place).repeat(1, 1, 2)
        for _ in range(substeps):
            state, tools, impulse = substep(state, params, tools, self.shapes, self.law)
            total = total + impulse
        return state, tools, total

    def _warp(
        self, state: SPHState, params: SPHParams, tools: Tools, substeps: int
    ) -> tuple[SPHState, Tools, Tensor]:
        x = state.position
        key = (x.dtype, x.device)
        if key not in self._programs:
            self._programs[key] = SPHProgram(self.shapes, self.law, *key)
        there = tools if self.shapes else _one(x)
        total = torch.zeros_like(there.place).repeat(1, 1, 2)
        moving = (there.place, there.turn.roll(-1, -1), total)
        program = self._programs[key].program
        given = (*params, *there[2:])
        out = kernels.run(program, (*state, *moving), given, substeps, self.keep)
        if not self.shapes:
            return SPHState(*out[:3]), tools, torch.zeros_like(tools.place).repeat(1, 1, 2)
        place, turn, total = out[3:]
        tools = tools._replace(place=place, turn=turn.roll(1, -1))
        return SPHState(*out[:3]), tools, total


def _one(x: Tensor) -> Tools:
    """A tool for kernels that nothing meets."""
    still = x.new_zeros(len(x), 1, 3)
    turn = x.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(len(x), 1, 4)
    return Tools(still, turn, still, still, still, still[..., 0])
