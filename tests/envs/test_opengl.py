"""Where no GL library is, a sentence says which package brings it, and all else goes on."""

import sys
import threading

import pytest

from reverie.envs import RenderError, opengl
from tests.envs.test_dm_control import python

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about Linux libraries")

PROPRIO_THEN_PICTURE = """
import sys
import numpy as np
from reverie.envs import RenderError, make
assert not {"mujoco", "dm_control", "gymnasium", "OpenGL", "glfw"} & set(sys.modules)
def loaded():
    names = ("libGL.", "libEGL", "libOSMesa", "libGLX", "libOpenGL")
    return [line for line in open("/proc/self/maps") if any(name in line for name in names)]
env = make("dmc:cartpole_swingup")
row = env.reset(0)
for _ in range(3):
    row = env.step(np.zeros(1))
print("stepped", row.obs["velocity"].shape)
print("loaded", len(loaded()))
try:
    env.render()
    print("drawn")
except RenderError as error:
    print(error)
print("loaded", len(loaded()))
print("still", env.step(np.zeros(1)).obs["velocity"].shape)
toy = make("toy:pendulum", pixels=True)
print("toy", toy.reset(0).obs["image"].shape)
"""


@pytest.fixture
def broken_libraries(tmp_path):
    """A folder whose GL libraries cannot be loaded, to be searched before the system's."""
    for name in ("libEGL.so.1", "libEGL.so", "libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


@linux
def test_without_a_library_only_pictures_fail(broken_libraries):
    done = python(PROPRIO_THEN_PICTURE, LD_LIBRARY_PATH=str(broken_libraries), MUJOCO_GL="egl")
    assert done.returncode == 0, done.stderr
    stepped, _, error, _, still, toy = done.stdout.splitlines()
    assert stepped == "stepped (2,)"
    for word in ("libEGL.so.1", "libegl1", "libgl1-mesa-dri", "libosmesa6", "macOS"):
        assert word in error
    assert still == "still (2,)"
    assert toy == "toy (3, 64, 64)"


@linux
def test_a_library_without_a_driver_is_loaded_for_the_first_picture_and_named(broken_libraries):
    if not opengl_works():
        pytest.skip("no EGL here")
    (broken_libraries / "libEGL.so.1").unlink()
    (broken_libraries / "libEGL.so").unlink()
    done = python(
        PROPRIO_THEN_PICTURE,
        LD_LIBRARY_PATH=str(broken_libraries),
        __EGL_VENDOR_LIBRARY_DIRS=str(broken_libraries),
        MUJOCO_GL=None,
        DISPLAY=None,
        WAYLAND_DISPLAY=None,
    )
    assert done.returncode == 0, done.stderr
    stepped, before, error, after, still, _ = done.stdout.splitlines()
    assert (stepped, before, still) == ("stepped (2,)", "loaded 0", "still (2,)")
    assert after != "loaded 0"
    if "no driver answered" not in error:
        pytest.skip("this EGL finds its drivers without the vendor-neutral loader")
    assert "libgl1-mesa-dri" in error


def opengl_works():
    try:
        in_new_thread(opengl.context)
    except RenderError:
        return False
    return True


def in_new_thread(function):
    """Contexts belong to threads: a new thread has to make its own."""
    results, errors = [], []

    def run():
        try:
            results.append(function())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def test_pictures_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    with pytest.raises(RenderError, match="switches pictures off"):
        in_new_thread(opengl.context)


def test_a_context_is_made_once_for_each_thread():
    if not opengl_works():
        pytest.skip("no GL here")
    mine = opengl.context()
    assert opengl.context() is mine
    assert in_new_thread(opengl.context) is not mine
    assert opengl.context() is mine


@linux
def test_an_impossible_device_is_named(monkeypatch):
    if not opengl_works():
        pytest.skip("no EGL here")
    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", "99")
    with pytest.raises(RenderError, match="MUJOCO_EGL_DEVICE_ID=99"):
        in_new_thread(opengl.context)


@linux
def test_osmesa_draws_too_where_it_is_installed(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    try:
        context = in_new_thread(opengl.context)
    except RenderError as error:
        assert "libosmesa6" in str(error)  # as it should be without it
        return
    assert type(context).__name__ == "_OSMesa"


def test_a_choice_is_suggested_only_where_none_was_made(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    opengl.suggest_egl()
    assert opengl.chosen() == "osmesa"
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(opengl, "has_display", lambda: True)
    opengl.suggest_egl()
    assert opengl.chosen() == ""
    monkeypatch.setattr(opengl, "has_display", lambda: False)
    opengl.suggest_egl()
    assert opengl.chosen() == "egl"
