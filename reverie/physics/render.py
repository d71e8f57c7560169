"""Pictures of simulated worlds, without a graphics card or a window.

    camera = orbit(target=(0, 0, 0.5), distance=3, azimuth=30, elevation=20)
    frame = draw([Ground(), place(box(), (0, 0, 0.5)), Balls(particles, 0.02)], camera)
    frame.colour, frame.depth, frame.label

The world is right-handed with z up. A camera has x to the right, y down and z forward; a pixel (row
i, column j) looks through its centre (u, v) = (j + 1/2, i + 1/2), and a point X is seen at

    (u, v, 1) ~ K [R | t] (X, 1)

The picture depends on nothing but its arguments, bit for bit. Nothing is differentiated.

Legend: `H W` picture, `P = H W` pixels, `n` some of them, `V` vertices, `F` faces, `N` balls, `T`
frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reverie.physics import shade
from reverie.physics.drawing import Item, Reals, Scene, Seen, gather, look, world_rays
from reverie.physics.raster import Lens
from reverie.physics.shade import DAYLIGHT, Light, Shadow, Single
from reverie.physics.shapes import Numbers, numbers

_SHADOWS_FROM = 256
"""Pictures of so many pixels a side have shadows unless told otherwise."""


class Camera(NamedTuple):
    """Where a picture is taken from."""

    position: tuple[float, float, float]
    """In the world [m]."""
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the middle of the picture [m]."""
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """Points up in the picture."""
    fov: float = 45.0
    """Vertical angle of view [degrees]."""
    width: int = 256
    height: int = 256
    """Of the picture [pixels]."""
    near: float = 0.01
    """What is nearer is not drawn [m]."""

    @property
    def distance(self) -> float:
        """To the target [m]."""
        return math.dist(self.position, self.target)

    @property
    def rotation(self) -> Reals:
        """R `[3, 3]`; its rows are the camera's right, down and forward in the world."""
        forward, up = numbers(self.target) - numbers(self.position), numbers(self.up)
        right = np.cross(forward, up)
        size = float(np.sqrt((right * right).sum()))
        if not size > 1e-9 * math.hypot(*forward) * math.hypot(*up) or not math.isfinite(size):
            raise ValueError(
                f"A camera at {self.position} that looks at {self.target} does not know where up "
                f"{self.up} is; move it away from its target, or choose an up across its view."
            )
        forward, right = forward / math.hypot(*forward), right / size
        return np.stack([right, np.cross(forward, right), forward])

    @property
    def extrinsics(self) -> Reals:
        """World to camera `[4, 4]`: R and t = -R position, and a last row (0, 0, 0, 1)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = -matrix[:3, :3] @ numbers(self.position)
        return matrix

    @property
    def intrinsics(self) -> Reals:
        """K `[3, 3]` [pixels]."""
        lens = self.lens
        (u, v), f = lens.centre, lens.focal
        return np.array([[f, 0, u], [0, f, v], [0, 0, 1]])

    @property
    def projection(self) -> Reals:
        """K [R | t] `[3, 4]`."""
        matrix: Reals = self.intrinsics @ self.extrinsics[:3]
        return matrix

    @property
    def lens(self) -> Lens:
        """The rasteriser's view of it."""
        if not (0 < self.fov < 180 and self.width >= 1 and self.height >= 1 and self.near > 0):
            raise ValueError(
                "A camera has a fov in (0, 180) degrees, one pixel or more a side, and near above "
                f"0; got fov {self.fov}, {self.height} x {self.width} pixels, near {self.near}."
            )
        focal = self.height / (2 * math.tan(math.radians(self.fov) / 2))
        return Lens(focal, (self.width / 2, self.height / 2), self.width, self.height, self.near)

    def project(self, points: Numbers) -> Reals:
        """u, v [pixels] and depth [m] `[n, 3]` of points `[n, 3]` in the world."""
        seen = numbers(points) @ self.projection[:, :3].T + self.projection[:, 3]
        seen[:, :2] /= seen[:, 2:]
        return seen


class Frame(NamedTuple):
    """A picture."""

    colour: NDArray[np.uint8]
    """`[H, W, 3]`."""
    depth: NDArray[np.float32]
    """`[H, W]` [m], along the camera's axis; inf where there is nothing."""
    label: NDArray[np.int32]
    """`[H, W]`: which of the items is seen, -1 where there is nothing."""


def orbit(
    target: Numbers = (0, 0, 0),
    distance: float = 3.0,
    azimuth: float = 0.0,
    elevation: float = 20.0,
    *,
    fov: float = 45.0,
    width: int = 256,
    height: int = 256,
) -> Camera:
    """A camera on a sphere around its target.

    Args:
        target: the middle `[3]` [m].
        distance: the radius [m].
        azimuth: from the x axis towards the y axis [degrees].
        elevation: above the horizon, -90 to 90 [degrees].
        fov: vertical angle of view [degrees].
        width: of the picture [pixels].
        height: of the picture [pixels].
    """
    if not distance > 0:
        raise ValueError(f"A camera orbits at a distance above 0 [m]; got {distance}.")
    east, north = math.radians(azimuth), math.radians(elevation)
    across, above = math.cos(north), math.sin(north)
    away = np.array([across * math.cos(east), across * math.sin(east), above])
    up = (-above * math.cos(east), -above * math.sin(east), across)
    middle = numbers(target)
    x, y, z = (middle + distance * away).tolist()
    return Camera((x, y, z), tuple(middle.tolist()), up, fov, width, height)


def overview(
    items: Sequence[Item],
    azimuth: float = 30.0,
    elevation: float = 20.0,
    *,
    fov: float = 45.0,
    width: int = 256,
    height: int = 256,
) -> Camera:
    """A camera that has all meshes and balls in its picture; angles as in `orbit`."""
    scene = gather(items)
    if scene.empty:
        raise ValueError("An overview needs a mesh or balls to look at; there are none.")
    low, high = scene.bounds()
    half = math.radians(fov) / 2
    narrow = min(half, math.atan(math.tan(half) * width / height))
    reach = max(math.dist(low, high) / 2, 1e-3)
    distance = 1.05 * reach / math.sin(narrow)
    return orbit(
        (low + high) / 2, distance, azimuth, elevation, fov=fov, width=width, height=height
    )


def turntable(
    items: Sequence[Item],
    frames: int = 48,
    *,
    camera: Camera | None = None,
    light: Light = DAYLIGHT,
    shadows: bool | None = None,
    samples: int = 1,
) -> list[Frame]:
    """The camera once around its target, about the vertical.

    Args:
        items: what to draw.
        frames: T; the last is one step before the first.
        camera: the first; None for an `overview`.
        light: as in `draw`.
        shadows: as in `draw`.
        samples: as in `draw`.
    """
    camera = overview(items) if camera is None else camera
    arm, up, middle = (numbers(v) for v in (camera.position, camera.up, camera.target))
    arm = arm - middle
    pictures = []
    for k in range(frames):
        angle = 2 * math.pi * k / frames
        c, s = math.cos(angle), math.sin(angle)
        spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        position, above = (middle + spin @ arm).tolist(), (spin @ up).tolist()
        moved = camera._replace(position=tuple(position), up=tuple(above))
        pictures.append(draw(items, moved, light, shadows=shadows, samples=samples))
    return pictures


def film(frames: Sequence[Frame]) -> NDArray[np.uint8]:
    """Colours `[T, H, W, 3]`, as `reverie.viz.video` writes them."""
    return np.stack([frame.colour for frame in frames])


def draw(
    items: Sequence[Item],
    camera: Camera,
    light: Light = DAYLIGHT,
    *,
    shadows: bool | None = None,
    samples: int = 1,
) -> Frame:
    """One picture.

    Args:
        items: what to draw; their numbers are the labels. Their order changes nothing else.
        camera: where from.
        light: the sun, and the sky.
        shadows: whether the sun throws them; None: from 256 pixels a side on.
        samples: colours are averaged over so many squared rays a pixel; depth and labels always
            belong to its centre.

    Raises:
        ValueError: for shapes and colours that do not fit, vertices that are not finite, faces that
            name no vertex, and a camera that is inside a ball, under the ground or looks along up.
    """
    if samples < 1:
        raise ValueError(f"samples is 1 or more a side of a pixel; got {samples}.")
    scene, rotation, lens = gather(items), camera.rotation, camera.lens
    position = numbers(camera.position)
    _check_outside(scene, position)
    if shadows is None:
        shadows = max(camera.width, camera.height) >= _SHADOWS_FROM
    thrown = None
    if shadows and not scene.empty:
        meshes, balls = scene.meshes, scene.balls
        thrown = shade.shadow(light.unit(), meshes.points, meshes.faces, balls.centres, balls.radii)
    seen = fine = look(scene, rotation, position, lens)
    if samples > 1:
        lens = lens.finer(samples)
        fine = look(scene, rotation, position, lens)
    colour = _colours(fine, scene.ground_item, camera, lens, light, thrown)
    if samples > 1:  # averaged as light, of which colours are the root
        tiles = (3, camera.height, samples, camera.width, samples)
        colour = np.sqrt((colour * colour).reshape(tiles).mean((2, 4)))
    colour = np.minimum(colour * np.float32(255) + np.float32(0.5), 255).astype(np.uint8)
    size = (camera.height, camera.width)
    return Frame(
        np.ascontiguousarray(colour.reshape(3, *size).transpose(1, 2, 0)),
        seen.depth.astype(np.float32).reshape(size),
        seen.item.astype(np.int32).reshape(size),
    )


def _check_outside(scene: Scene, position: Reals) -> None:
    """A camera inside of something would show what nobody expects."""
    if scene.ground is not None and position[2] <= scene.ground.height:
        raise ValueError(
            f"The camera at z = {position[2]:g} is not above the ground at z = "
            f"{scene.ground.height:g}; raise it, or leave the ground away."
        )
    away = scene.balls.centres - position[:, None]
    inside = np.flatnonzero((away * away).sum(0) <= scene.balls.radii**2)
    if inside.size:
        item = int(scene.balls.item[inside[0]])
        raise ValueError(f"The camera at {position.tolist()} is inside of a ball of item {item}.")


def _colours(
    seen: Seen, ground_item: int, camera: Camera, lens: Lens, light: Light, thrown: Shadow | None
) -> Single:
    """Colours `[3, P]` in light and shadow, with the sky where nothing is."""
    rotation, position = camera.rotation, numbers(camera.position)
    rays, sun = world_rays(rotation, lens), light.unit()
    length = np.sqrt((rays * rays).sum(0))
    sky = np.flatnonzero(seen.item < 0)
    ground = np.flatnonzero((seen.item == ground_item) & (seen.item >= 0))
    solid = np.flatnonzero((seen.item != ground_item) & (seen.item >= 0))
    lit = np.ones(seen.item.size, np.float32)
    normal = shade.turn(rotation.T, seen.normal)
    if thrown is not None:
        there = position[:, None] + rays.take(ground, 1) * seen.depth.take(ground)
        lit[ground] = thrown.on_ground(there)
        there = position[:, None] + rays.take(solid, 1) * seen.depth.take(solid)
        lit[solid] = thrown.on_surface(there, normal.take(solid, 1))
    colour = seen.colour * shade.lambert(normal, -rays / length, light, sun, lit)
    away = length.take(ground) * seen.depth.take(ground)
    colour[:, ground] = shade.fade(light, colour.take(ground, 1), away, camera.distance)
    colour[:, sky] = shade.sky(light, rays[2].take(sky) / length.take(sky))
    return colour
