"""Who else may ask the model? A page on which a person plays in any world model that shows
pictures, with the simulator beside it.

Starlette, uvicorn and websockets are an extra, `pip install "reverie[serve]"`, imported where they
are used.
"""

from reverie.serve.engine import Engine
from reverie.serve.recording import Recorder, Recording
from reverie.serve.server import ServerConfig, serve
from reverie.serve.session import Moment, Session
from reverie.serve.worlds import Recorded, Seen, Simulated, World

__all__ = [
    "Engine",
    "Moment",
    "Recorded",
    "Recorder",
    "Recording",
    "Seen",
    "ServerConfig",
    "Session",
    "Simulated",
    "World",
    "serve",
]
