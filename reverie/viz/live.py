"""A world in the browser, in three dimensions, while it moves.

    stage = Stage("push-3")      # http://127.0.0.1:8080
    stage.show(items)            # meshes, balls, a ground: what `reverie.physics.picture` draws

By viser, an extra: `pip install "reverie[viewer]"`. Nothing is loaded from outside.

Legend: `V` vertices, `F` faces, `N` balls.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LOOPBACK = "127.0.0.1"


def require_viser() -> Any:
    """The package, or an error that says how to get it."""
    try:
        import viser
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'The viewer needs viser, which is missing: pip install "reverie[viewer]".'
        ) from None
    return viser


class Stage:
    """A page that shows things, served by this process."""

    def __init__(
        self,
        label: str,
        *,
        host: str = LOOPBACK,
        port: int = 8080,
        eye: Sequence[float] = (1.0, 1.0, 1.0),
        target: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        """Serve the page; where the port is taken, on the next free one.

        Args:
            label: title of the page.
            host: whom it listens to; this machine alone by default.
            port: at which.
            eye: where the camera begins [m].
            target: what it looks at [m].
        """
        viser = require_viser()
        with contextlib.redirect_stdout(io.StringIO()):  # its banner; `url` says where
            self.server = viser.ViserServer(host=host, port=port, label=label, verbose=False)
        self.server.scene.set_up_direction("+z")
        camera = self.server.initial_camera
        camera.position, camera.look_at = tuple(eye), tuple(target)
        self._host = host
        self._shown: dict[str, tuple[tuple[Any, ...], Any]] = {}

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://{self._host}:{self.server.get_port()}"

    @property
    def clients(self) -> int:
        """Browsers that look on."""
        return len(self.server.get_clients())

    def show(self, things: Sequence[Any]) -> None:
        """Show these, in place of what was there; what only moved is moved.

        Each is a `Mesh`, `Balls` or `Ground` of `reverie.physics.shapes`.
        """
        with self.server.atomic():
            names = set()
            for k, thing in enumerate(things):
                name = f"/{type(thing).__name__.lower()}{k}"
                names.add(name)
                self._one(name, thing)
            for name in set(self._shown) - names:
                self._shown.pop(name)[1].remove()

    def close(self) -> None:
        """Stop serving."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()

    def _one(self, name: str, thing: Any) -> None:
        kind = type(thing).__name__
        make = {"Mesh": self._mesh, "Balls": self._balls, "Ground": self._ground}[kind]
        outline, moving, added = make(thing)
        there = self._shown.get(name)
        if there is not None and there[0] == outline:
            for field, value in moving.items():
                setattr(there[1], field, value)
            return
        if there is not None:
            there[1].remove()
        self._shown[name] = outline, added(name)

    def _mesh(self, mesh: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        vertices, faces = _array(mesh.vertices), _array(mesh.faces, np.uint32)
        colour = _colours(mesh.colour)
        one = colour if colour.ndim == 1 else colour.mean(0).astype(np.uint8)

        def add(name: str) -> Any:
            return self.server.scene.add_mesh_simple(
                name,
                vertices,
                faces,
                color=tuple(int(c) for c in one),
                flat_shading=not mesh.smooth,
                side="double",
            )

        return (vertices.shape, faces.tobytes(), one.tobytes()), {"vertices": vertices}, add

    def _balls(self, balls: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        points, radius = _array(balls.centres), float(np.mean(_array(balls.radius)))
        colours = np.broadcast_to(_colours(balls.colour), points.shape)

        def add(name: str) -> Any:
            return self.server.scene.add_point_cloud(
                name,
                points,
                colours,
                point_size=2 * radius,
                point_shape="circle",
                precision="float32",
            )

        return (points.shape, radius, colours.tobytes()), {"points": points}, add

    def _ground(self, ground: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        def add(name: str) -> Any:
            return self.server.scene.add_grid(
                name,
                width=20.0,
                height=20.0,
                cell_size=ground.square / 5,
                section_size=ground.square,
                cell_color=(206, 208, 212),
                section_color=(176, 178, 184),
                plane_color=tuple(int(c) for c in _colours(ground.colours[0])),
                plane_opacity=1.0,
                position=(0.0, 0.0, ground.height - 1e-3),
            )

        return ((ground,), {}, add)


def _array(values: Any, dtype: Any = np.float32) -> NDArray[Any]:
    made: NDArray[Any] = np.asarray(
        values.detach().cpu() if hasattr(values, "detach") else values
    ).astype(dtype)
    return made


def _colours(values: Any) -> NDArray[np.uint8]:
    made: NDArray[np.uint8] = (255 * _array(values)).round().clip(0, 255).astype(np.uint8)
    return made
