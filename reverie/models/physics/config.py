"""What of a simulated world is sensed, and what may differ between episodes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PhysicsConfig:
    """The senses of a world, and its context."""

    keypoints: int = 0
    """How many particles and vertices are sensed one by one, spread evenly over them; 0: all, where
    there are at most 64, else 64."""
    image: int = 0
    """Side of the square picture that is sensed [px]; 0: none. Pictures have no gradient."""
    view: tuple[float, float, float] = (45.0, 30.0, 1.0)
    """Azimuth and elevation of the camera [deg], and its distance, as a share of the one from which
    the whole start is seen."""
    context: tuple[str, ...] = ()
    """The knobs of the world (see `world.KNOBS`) that differ between episodes: factors, 1 by
    default."""
    spread: tuple[float, float] = (0.5, 2.0)
    """The smallest and largest factor that is drawn as context."""
    learn: tuple[str, ...] = ()
    """The knobs that are parameters of the model, to be fitted to recorded rows."""

    def __post_init__(self) -> None:
        if self.keypoints < 0 or self.image < 0:
            raise ValueError(
                f"PhysicsConfig keypoints is {self.keypoints} and image {self.image}; give at "
                "least 0."
            )
        low, high = self.spread
        if not 0 < low <= high:
            raise ValueError(f"PhysicsConfig spread is {self.spread}; give 0 < low <= high.")
