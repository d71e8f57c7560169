"""What IS a world model? The interface, what follows from it, and the check that models keep it.

Nothing but torch is needed, and nothing above is known. `rollout` and `tree` are modules of small
functions, read by their own name: `rollout.imagine(...)`, `tree.select(...)`.
"""

from reverie.core import rollout, tree
from reverie.core.check import Result, WorldModelError, check_world_model
from reverie.core.model import (
    Agent,
    Batch,
    Clip,
    Deferred,
    Featured,
    Obs,
    Policy,
    Sequential,
    Trainable,
    Transition,
    WorldModel,
    WorldModelLoss,
    sample_rows,
)
from reverie.core.returns import (
    lambda_return,
    symexp,
    symexp_bins,
    symlog,
    twohot,
    twohot_loss,
    twohot_mean,
    twohot_nll,
)
from reverie.core.rollout import Rollout
from reverie.core.spec import Space, Spec

__all__ = [
    "Agent",
    "Batch",
    "Clip",
    "Deferred",
    "Featured",
    "Obs",
    "Policy",
    "Result",
    "Rollout",
    "Sequential",
    "Space",
    "Spec",
    "Trainable",
    "Transition",
    "WorldModel",
    "WorldModelError",
    "WorldModelLoss",
    "check_world_model",
    "lambda_return",
    "rollout",
    "sample_rows",
    "symexp",
    "symexp_bins",
    "symlog",
    "tree",
    "twohot",
    "twohot_loss",
    "twohot_mean",
    "twohot_nll",
]
