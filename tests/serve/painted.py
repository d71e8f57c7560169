"""The page of a model that reads text (`told DIRECTORY`), or of one that chooses among actions,
predicts chunks and tells its uncertainty (`choose DIRECTORY`), served by this process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from reverie.serve import Engine, Recording, Seen, ServerConfig, Session, serve
from reverie.serve.page import sheet_of
from tests.serve.painter import CPU, Told, session
from tests.toys import Chunked


class Frames:
    """A world with the picture that `Chunked` reads."""

    about, beside = "frames", False

    def begin(self, seed: int) -> Seen:
        return Seen({"camera": np.full((3, 4, 4), 99, np.uint8)}, None)

    def step(self, action: Any) -> Seen:
        raise AssertionError

    def close(self) -> None:
        pass


def build(kind: str) -> Session:
    return session(Told(), text="so") if kind == "told" else Session(Chunked(), Frames(), CPU)


def main(kind: str, folder: Path) -> None:
    def recording(made: Session) -> Recording:
        spec = made.spec
        return Recording(folder, "test", made.recordable, spec.action, spec.dt, made.frame_time)

    serve(
        Engine(lambda: build(kind), recording),
        lambda engine: sheet_of(engine.session, kind, "A model of a test."),
        folder,
        ServerConfig(port=0),
        lambda address: print(f"Play at {address}", flush=True),
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
