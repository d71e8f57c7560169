"""LeRobot datasets, v3.0 and v2.1: which files are where, reading, and recording."""

from __future__ import annotations

from reverie.data.lerobot.reader import LeRobotDataset, open, recognises

__all__ = ["LeRobotDataset", "open", "recognises"]
