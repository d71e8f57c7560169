"""PushT (gym-pusht, Apache-2.0): a picture that shows the scene and not the command.

The environment's own picture for people marks the target of the last action with a red cross. A
model that sees the cross reads the action off the picture, and is asked in vain what another
action would do; one that must predict it predicts the command, not the world.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SIDE = 512
"""Height and width of the table [pixels of its own picture]."""


def without_cross(env: Any) -> Any:
    """The environment with `render` drawing goal, block and agent alone, uint8 `[512, 512, 3]`."""
    import gymnasium
    import pygame

    table: Any = env.unwrapped

    class PlainPicture(gymnasium.Wrapper):
        """PushT drawn without the mark of its action."""

        def render(self) -> np.ndarray:
            """The table, uint8 `[512, 512, 3]`."""
            raw = pygame.image.tobytes(table._draw(), "RGB")  # rows in order, unlike an array3d
            return np.frombuffer(raw, np.uint8).reshape(SIDE, SIDE, 3)

    return PlainPicture(env)
