"""Pictures of a MuJoCo world, fast by default."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from reverie.envs import opengl
from reverie.envs.env import Quality, RenderError

_LEAST_BUFFER = (240, 320)


class Look(NamedTuple):
    """What a picture costs; None keeps what the model says."""

    samples: int | None
    """Multisampling: how often each pixel is drawn; 0 for once."""
    shadow_map: int | None
    """Side of the shadow map [pixels]; 0 for no shadows."""
    reflections: bool
    sky: bool


LOOKS: dict[Quality, Look] = {
    "full": Look(None, None, True, True),
    "fast": Look(0, 0, False, False),
}
"""MuJoCo's own look, and the one that a software renderer draws about 20 times as fast: bodies,
colours, textures and lamps are the same (docs/decisions/0003-rendering.md)."""


class MujocoCamera:
    """Draws a `mujoco.MjModel` and its `mujoco.MjData` from one camera.

    `camera` is a name or a number, -1 for the free camera, to which `view` then applies: attributes
    of `mujoco.MjvCamera` such as distance [m] and elevation [degrees].

    Nothing of GL is touched before the first picture. Each thread that draws has its own context.
    """

    def __init__(
        self,
        model: Any,
        data: Any,
        camera: str,
        look: Look,
        view: Mapping[str, Any] | None = None,
    ) -> None:
        self._model, self._data, self._look = model, data, look
        self._camera = _find(model, camera, view or {})
        self._reset = 0
        self._of_thread = threading.local()

    def refresh(self) -> None:
        """The model itself was changed (a reset may draw new terrain): upload it again."""
        self._reset += 1

    def picture(self, height: int, width: int) -> np.ndarray:
        """The present state, uint8 `[height, width, 3]`."""
        with opengl.drawing():
            mine = self._of_thread
            if not hasattr(mine, "drawing"):
                mine.drawing, mine.reset = _Drawing(self._model, self._camera, self._look), None
            drawing: _Drawing = mine.drawing
            if mine.reset != self._reset:
                drawing.upload()
                mine.reset = self._reset
            return drawing.picture(self._data, height, width)

    def close(self) -> None:
        """Free what this thread draws with."""
        drawing: _Drawing | None = self._of_thread.__dict__.pop("drawing", None)
        if drawing:
            with opengl.drawing():
                drawing.target.free()


def cameras(
    model: Any, data: Any, names: str, look: Look, view: Mapping[str, Any] | None = None
) -> dict[str, MujocoCamera]:
    """The cameras of "front, side" by the sensors that they make: the first makes "image", each
    other one "image_" and its name."""
    found: dict[str, MujocoCamera] = {}
    for name in (part.strip() for part in names.split(",")):
        sensor = "image_" + name.replace(".", "_") if found else "image"
        if sensor in found:
            raise ValueError(f"Camera {name!r} is named twice in {names!r}; name each one once.")
        found[sensor] = MujocoCamera(model, data, name, look, view)
    return found


class _Drawing:
    """MuJoCo's scene and its framebuffer in the GL context of one thread."""

    def __init__(self, model: Any, camera: Any, look: Look) -> None:
        import mujoco

        self._model, self._camera = model, camera
        self.target = self._framebuffer(look)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.target)
        if self.target.currentBuffer != mujoco.mjtFramebuffer.mjFB_OFFSCREEN:
            raise RenderError("This OpenGL cannot draw offscreen; try another MUJOCO_GL.")
        self._option = mujoco.MjvOption()
        self._option.flags[mujoco.mjtVisFlag.mjVIS_RANGEFINDER] = 0
        self._scene = mujoco.MjvScene(model, maxgeom=2 * model.ngeom + 1000)
        flag = mujoco.mjtRndFlag
        for name, on in (
            (flag.mjRND_SHADOW, look.shadow_map != 0),
            (flag.mjRND_REFLECTION, look.reflections),
            (flag.mjRND_SKYBOX, look.sky),
        ):
            self._scene.flags[name] = on

    def _framebuffer(self, look: Look) -> Any:
        """MuJoCo reads its size and samples from the model; leave the model as it was."""
        import mujoco

        size, quality = self._model.vis.global_, self._model.vis.quality
        before = size.offheight, size.offwidth, quality.offsamples, quality.shadowsize
        try:
            size.offheight, size.offwidth = _LEAST_BUFFER
            if look.samples is not None:
                quality.offsamples = look.samples
            if look.shadow_map is not None:
                quality.shadowsize = look.shadow_map
            return mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        finally:
            size.offheight, size.offwidth, quality.offsamples, quality.shadowsize = before

    def upload(self) -> None:
        """What a reset may change of the model: its terrain."""
        import mujoco

        for k in range(self._model.nhfield):
            mujoco.mjr_uploadHField(self._model, self.target, k)

    def picture(self, data: Any, height: int, width: int) -> np.ndarray:
        import mujoco

        target = self.target
        if height > target.offHeight or width > target.offWidth:
            larger = max(width, target.offWidth), max(height, target.offHeight)
            mujoco.mjr_resizeOffscreen(*larger, target)
        model, camera, scene = self._model, self._camera, self._scene
        everything = mujoco.mjtCatBit.mjCAT_ALL
        mujoco.mjv_updateScene(model, data, self._option, None, camera, everything, scene)
        # All cameras of a thread share its GL context: bind the framebuffer of this one again.
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, target)
        frame = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(frame, scene, target)
        image = np.empty((height, width, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, frame, target)
        return image[::-1]  # GL counts rows from the bottom.


def _find(model: Any, camera: str, view: Mapping[str, Any]) -> Any:
    """The camera of this name or number."""
    import mujoco

    found = mujoco.MjvCamera()
    names = [model.camera(k).name for k in range(model.ncam)]
    if camera in names:
        number = names.index(camera)
    elif camera.lstrip("-").isdigit() and -1 <= int(camera) < model.ncam:
        number = int(camera)
    else:
        raise ValueError(
            f"Camera {camera!r} is unknown; this model has {', '.join(names) or 'none'}; "
            f"give a name, a number below {model.ncam}, or -1 for the free camera."
        )
    if number < 0:
        mujoco.mjv_defaultFreeCamera(model, found)
        for key, value in view.items():
            if isinstance(value, np.ndarray):
                getattr(found, key)[:] = value
            else:
                setattr(found, key, value)
    else:
        found.type = mujoco.mjtCamera.mjCAMERA_FIXED
        found.fixedcamid = number
    return found
