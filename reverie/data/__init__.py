"""What happened: recorded episodes on disk, and sequences of them to learn from."""

from reverie.data.container import CorruptFileError
from reverie.data.replay import Replay, ReplayConfig, Sample
from reverie.data.shelf import StoreWarning
from reverie.data.store import EpisodeInfo, EpisodeStore, StorageError

__all__ = [
    "CorruptFileError",
    "EpisodeInfo",
    "EpisodeStore",
    "Replay",
    "ReplayConfig",
    "Sample",
    "StorageError",
    "StoreWarning",
]
