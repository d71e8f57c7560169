"""Which parts, wired how? One typed recipe per family, and what to do with it."""

from reverie.recipes.run import Loaded, load, train

__all__ = ["Loaded", "load", "train"]
