"""How wrong the world model was: the losses of a batch of recorded rows, named and unreduced."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from reverie.models.dreamer.config import LossConfig
from reverie.models.dreamer.latent import Latent


def kl_losses(
    latent: Latent, posterior: Tensor, prior: Tensor, config: LossConfig
) -> dict[str, Tensor]:
    """The dynamics losses by name, each `[..]` in nats.

    two_sided (eq. 5 of Hafner et al. 2023): dyn = max(free, KL(sg(q) || p)) and
    rep = max(free, KL(q || sg(p))), with weights of their own.
    balanced (Hafner et al. 2021): kl = max(free, b KL(sg(q) || p) + (1 - b) KL(q || sg(p))).
    single (Hafner et al. 2019): kl = max(free, KL(q || p)).
    """
    if config.kl == "single":
        return {"kl": latent.kl(posterior, prior).clamp_min(config.free_nats)}
    dyn = latent.kl(posterior.detach(), prior)
    rep = latent.kl(posterior, prior.detach())
    if config.kl == "balanced":
        mixed = torch.lerp(rep, dyn, config.balance)
        return {"kl": mixed.clamp_min(config.free_nats)}
    return {"dyn": dyn.clamp_min(config.free_nats), "rep": rep.clamp_min(config.free_nats)}


def scales(sensors: list[str], config: LossConfig) -> dict[str, float]:
    """The weight of each loss; the names are those that a batch's losses have."""
    kl = {"dyn": config.dyn, "rep": config.rep} if config.kl == "two_sided" else {"kl": config.dyn}
    decode = {f"decode/{name}": config.decode for name in sensors}
    return {**kl, **decode, "reward": config.reward, "continues": config.continues}


def continues_loss(logits: Tensor, terminated: Tensor) -> Tensor:
    """Binary cross-entropy of "the episode goes on", `[..]`."""
    return F.binary_cross_entropy_with_logits(
        logits, (~terminated).to(logits.dtype), reduction="none"
    )
