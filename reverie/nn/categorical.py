"""One-hot variables: probabilities with a floor, sampling from given noise, their gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mix_uniform(logits: Tensor, share: float, dim: int = -1) -> Tensor:
    """p = (1 - u) softmax(logits) + u / C along `dim`: no class is ever impossible."""
    return logits.softmax(dim) * (1 - share) + share / logits.shape[dim]


def one_hot_sample(probs: Tensor, noise: Tensor) -> Tensor:
    """One-hot `[.., S, C]` of the class whose share of [0, 1) holds the uniform noise `[.., S]`."""
    passed = (noise.unsqueeze(-1) >= probs.detach()[..., :-1].cumsum(-1)).to(probs.dtype)
    return F.pad(passed, (1, 0), value=1.0) - F.pad(passed, (0, 1))


def straight_through(sample: Tensor, probs: Tensor) -> Tensor:
    """`sample` with the gradient of `probs` (Bengio et al. 2013): sample + p - sg(p)."""
    if torch.is_grad_enabled() and probs.requires_grad:
        return sample + (probs - probs.detach())
    return sample
