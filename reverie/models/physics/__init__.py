"""Physics: a simulated world of rigid, soft, granular, liquid and cloth matter as a world model."""

from reverie.models.physics.config import PhysicsConfig
from reverie.models.physics.fit import Fit, FitConfig, identify
from reverie.models.physics.model import Physics, PhysicsState
from reverie.models.physics.task import Forward, Move, Shape, Task

__all__ = [
    "Fit",
    "FitConfig",
    "Forward",
    "Move",
    "Physics",
    "PhysicsConfig",
    "PhysicsState",
    "Shape",
    "Task",
    "identify",
]
