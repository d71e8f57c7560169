"""An OpenGL context without a window: EGL, OSMesa, or what the operating system brings.

Bound with ctypes at the first picture, so that nothing here needs a GL library before one is asked
for, and so that a missing one is a sentence and not a crash in the middle of an import.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from reverie.envs.env import RenderError

ADVICE = (
    "Debian and Ubuntu: apt install libegl1 libgl1-mesa-dri (or libosmesa6); "
    "Fedora: dnf install mesa-libEGL mesa-dri-drivers; macOS brings its own. "
    "Everything but pictures works without it."
)

# Numbers of the EGL 1.5 headers (registry.khronos.org/EGL) and of Mesa's osmesa.h.
_EGL_PLATFORM_DEVICE = 0x313F
_EGL_PLATFORM_SURFACELESS = 0x31DD
_EGL_OPENGL_API = 0x30A2
_EGL_CONFIG = (
    *(0x3033, 0x0001),  # EGL_SURFACE_TYPE: EGL_PBUFFER_BIT
    *(0x3040, 0x0008),  # EGL_RENDERABLE_TYPE: EGL_OPENGL_BIT
    *(0x3024, 8, 0x3023, 8, 0x3022, 8, 0x3021, 8),  # red, green, blue, alpha [bits]
    *(0x3025, 24, 0x3026, 8),  # depth, stencil [bits]
    0x3038,  # EGL_NONE
)
_EGL_DRAW_AND_READ = (0x3059, 0x305A)
_OSMESA_RGBA = 0x1908
_GL_UNSIGNED_BYTE = 0x1401
_OSMESA_SIDE = 64  # MuJoCo draws into its own framebuffer; this one only makes the context current.
_MAX_DEVICES = 16


class Context(Protocol):
    """A GL context of one thread."""

    def borrow(self) -> Callable[[], None]:
        """Direct the GL calls of this thread here; returns what gives it back to whom it was taken
        from (dm_control's own renderer believes that its context stays current)."""
        ...


def _keep() -> None:
    """Nobody wants the thread back."""


class _EGL:
    """Without a window system: on the first device that answers, else on Mesa's software driver."""

    def __init__(self) -> None:
        # Global symbols: MuJoCo looks for eglGetProcAddress among them.
        self._egl = _signatures(_load("libEGL.so.1", "libEGL.so"))
        self._display = self._open_display()
        config, found = ctypes.c_void_p(), ctypes.c_int()
        wanted = (ctypes.c_int * len(_EGL_CONFIG))(*_EGL_CONFIG)
        arguments = (wanted, ctypes.byref(config), 1, ctypes.byref(found))
        if not self._egl.eglChooseConfig(self._display, *arguments) or not found.value:
            raise OSError("EGL offers no configuration for OpenGL")
        self._egl.eglBindAPI(_EGL_OPENGL_API)
        self._context = self._egl.eglCreateContext(self._display, config, None, None)
        if not self._context:
            raise OSError(f"EGL refused a context (error {self._egl.eglGetError():#x})")
        self.borrow()()

    def _open_display(self) -> Any:
        for platform, device in self._candidates():
            display = self._display_of(platform, device, None)
            if display and self._egl.eglInitialize(display, None, None):
                return display
        raise OSError("libEGL is there, but no driver answered (is libgl1-mesa-dri installed?)")

    def _candidates(self) -> list[tuple[int, Any]]:
        """Platforms and devices to try, best first."""
        find = self._egl.eglGetProcAddress
        at = find(b"eglGetPlatformDisplayEXT")
        if not at:
            raise OSError("EGL lacks eglGetPlatformDisplayEXT")
        pointer = ctypes.c_void_p
        self._display_of = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(at)
        devices: list[Any] = []
        query = find(b"eglQueryDevicesEXT")
        if query:
            count = ctypes.c_int()
            several = (pointer * _MAX_DEVICES)()
            ask = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, pointer, pointer)(query)
            if ask(_MAX_DEVICES, several, ctypes.byref(count)):
                devices = list(several[: count.value])
        chosen = os.environ.get("MUJOCO_EGL_DEVICE_ID")
        if chosen is not None:
            if not chosen.isdigit() or int(chosen) >= len(devices):
                raise OSError(f"MUJOCO_EGL_DEVICE_ID={chosen}, but EGL has {len(devices)} devices")
            return [(_EGL_PLATFORM_DEVICE, devices[int(chosen)])]
        return [(_EGL_PLATFORM_DEVICE, d) for d in devices] + [(_EGL_PLATFORM_SURFACELESS, None)]

    def borrow(self) -> Callable[[], None]:
        egl = self._egl
        self._egl.eglBindAPI(_EGL_OPENGL_API)
        before = egl.eglGetCurrentContext()
        if before == self._context:
            return _keep
        if before:
            display = egl.eglGetCurrentDisplay()
            surfaces = [egl.eglGetCurrentSurface(which) for which in _EGL_DRAW_AND_READ]
        if not egl.eglMakeCurrent(self._display, None, None, self._context):
            raise RenderError(f"EGL lost its context (error {egl.eglGetError():#x}).")
        if before:
            return lambda: egl.eglMakeCurrent(display, *surfaces, before)
        return _keep


class _OSMesa:
    """Mesa drawing in plain memory, without EGL."""

    def __init__(self) -> None:
        self._mesa = _load("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")
        create = self._mesa.OSMesaCreateContextExt
        create.restype, create.argtypes = ctypes.c_void_p, [ctypes.c_int] * 4 + [ctypes.c_void_p]
        current = self._mesa.OSMesaMakeCurrent
        current.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 3]
        self._context = create(_OSMESA_RGBA, 24, 8, 0, None)
        if not self._context:
            raise OSError("OSMesa refused a context")
        self._pixels = (ctypes.c_ubyte * (4 * _OSMESA_SIDE**2))()
        self.borrow()

    def borrow(self) -> Callable[[], None]:
        side = _OSMESA_SIDE
        if not self._mesa.OSMesaMakeCurrent(
            self._context, self._pixels, _GL_UNSIGNED_BYTE, side, side
        ):
            raise RenderError("OSMesa lost its context.")
        return _keep


def _load(*names: str) -> Any:
    """The first library that can be loaded; its symbols become global."""
    problems = []
    for name in names:
        try:
            return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError as problem:
            problems.append(str(problem))
    raise OSError(problems[0])


def _signatures(egl: Any) -> Any:
    """Tell ctypes the types of the EGL functions used."""
    pointer, number, integers = ctypes.c_void_p, ctypes.c_uint, ctypes.POINTER(ctypes.c_int)
    for name, result, arguments in (
        ("eglGetProcAddress", pointer, [ctypes.c_char_p]),
        ("eglInitialize", number, [pointer, integers, integers]),
        ("eglChooseConfig", number, [pointer, integers, pointer, ctypes.c_int, integers]),
        ("eglBindAPI", number, [number]),
        ("eglCreateContext", pointer, [pointer, pointer, pointer, integers]),
        ("eglMakeCurrent", number, [pointer] * 4),
        ("eglGetCurrentContext", pointer, []),
        ("eglGetCurrentDisplay", pointer, []),
        ("eglGetCurrentSurface", pointer, [ctypes.c_int]),
        ("eglGetError", ctypes.c_int, []),
    ):
        function = getattr(egl, name)
        function.restype, function.argtypes = result, arguments
    return egl


class _System:
    """One of the contexts that MuJoCo brings for window systems: glfw, and macOS's CGL."""

    def __init__(self, name: str) -> None:
        self._context = importlib.import_module(f"mujoco.{name}").GLContext(64, 64)
        self.borrow()

    def borrow(self) -> Callable[[], None]:
        self._context.make_current()
        return _keep


_BACKENDS: dict[str, Callable[[], Context]] = {
    "egl": _EGL,
    "osmesa": _OSMesa,
    "cgl": partial(_System, "cgl"),
    "glfw": partial(_System, "glfw"),
}
_OFF = ("disable", "disabled", "off", "false", "0")
_of_thread = threading.local()


def context() -> Context:
    """The GL context of this thread, made at the first call and shared by all who draw in it.

    The environment variable MUJOCO_GL chooses among egl, osmesa, cgl and glfw; without it the first
    that works is taken.

    Raises:
        RenderError: No GL library was found; the message names the system package that brings it.
    """
    if not hasattr(_of_thread, "context"):
        _of_thread.context = _first_that_works()
    made: Context = _of_thread.context
    return made


@contextmanager
def drawing() -> Iterator[None]:
    """The GL calls of this thread go to its `context` meanwhile."""
    give_back = context().borrow()
    try:
        yield
    finally:
        give_back()


def chosen() -> str:
    """What MUJOCO_GL asks for; empty if nothing."""
    return os.environ.get("MUJOCO_GL", "").lower().strip()


def has_display() -> bool:
    """Whether windows can be opened."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def suggest_egl() -> None:
    """Have libraries that read MUJOCO_GL when they draw use EGL, where nobody chose and no window
    can be opened."""
    if not chosen() and not has_display():
        os.environ["MUJOCO_GL"] = "egl"


def _first_that_works() -> Context:
    choice = chosen()
    if choice in _OFF:
        raise RenderError(f"MUJOCO_GL={choice} switches pictures off; unset it to draw.")
    if choice in _BACKENDS:
        names = [choice]
    elif sys.platform.startswith("linux"):
        names = ["egl", "osmesa"] + (["glfw"] if has_display() else [])
    else:
        names = ["cgl", "glfw"] if sys.platform == "darwin" else ["glfw"]
    problems = []
    for name in names:
        try:
            return _BACKENDS[name]()
        except Exception as problem:
            problems.append(f"{name}: {problem}")
    raise RenderError(f"No OpenGL library to draw with ({'; '.join(problems)}). {ADVICE}")
