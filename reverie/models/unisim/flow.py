"""Flow matching between noise and frames: levels, steps, shortcuts.

A frame x and noise e are joined by a straight line, z(tau) = (1 - tau) e + tau x, tau the signal
level. The network predicts x; the velocity of z is then (x^ - z) / (1 - tau) (Lipman et al. 2022;
x-prediction as in Dreamer 4, Hafner et al. 2025). A step of length d goes along it. A network that
is told d learns to go in one step where two of d / 2 lead (Frans et al. 2024).

Legend: `N` frames, `C h w` image.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Predict = Callable[[Tensor, float, float], Tensor]
"""From z `[N, C, h, w]`, tau and d to the clean frame `[N, C, h, w]`."""


def blend(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """z = (1 - tau) e + tau x; `level` tau `[...]` over the leading axes of the frames."""
    tau = level.reshape(*level.shape, *[1] * (clean.ndim - level.ndim))
    return noise + tau * (clean - noise)


def advance(z: Tensor, clean: Tensor, level: Tensor, step: Tensor) -> Tensor:
    """z after a step d from tau along (x^ - z) / (1 - tau); `level` and `step` as in `blend`."""
    share = (step / (1 - level).clamp(min=1e-6)).clamp(max=1.0)
    return z + share.reshape(*share.shape, *[1] * (z.ndim - share.ndim)) * (clean - z)


def sample(predict: Predict, noise: Tensor, steps: int) -> Tensor:
    """A clean frame from noise in so many equal steps; the last prediction is what is returned.

    With one step it is the prediction from noise alone: the mean of all that may come next.
    """
    z, step = noise, 1 / steps
    for k in range(steps):
        clean = predict(z, k / steps, step)
        z = clean if k == steps - 1 else z + step / (1 - k / steps) * (clean - z)
    return z
