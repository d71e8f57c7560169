"""Oracle: the exact MuJoCo simulator as a world model, to plan on it and to judge planners by."""

from reverie.models.oracle.config import OracleConfig
from reverie.models.oracle.model import Oracle, OracleState

__all__ = ["Oracle", "OracleConfig", "OracleState"]
