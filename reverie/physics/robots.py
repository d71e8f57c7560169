"""Robots to begin with, as MJCF: a hopper, a quadruped, an arm and a gripper, in sizes of one's
choice; and things for them to handle.

All lengths [m], masses [kg]; z is up, x forward. They stand on (or are bolted to) a floor z = 0,
and touch it with feet and trunk.
"""

from __future__ import annotations

from string import Template

from reverie.physics.terrain import Terrain

_HEAD = """<mujoco model="$name">
  <compiler angle="radian"/>
  <option timestep="$dt"/>
  <default>
    <geom density="1000" friction="$friction 0.01 0.001" contype="0" conaffinity="0"/>
    <joint armature="$armature" damping="$damping"/>
    <default class="touch"><geom contype="1" conaffinity="1"/></default>
  </default>
  <worldbody>
    <geom name="floor" class="touch" type="plane" size="20 20 1"/>
"""

_FLOOR = '<geom name="floor" class="touch" type="plane" size="20 20 1"/>'
"""As it stands in `_HEAD`."""

_LEG = Template("""
      <body name="${at}_hip" pos="$x $y 0">
        <joint name="${at}_roll" axis="1 0 0" range="-0.7 0.7"/>
        <geom type="sphere" size="0.03" mass="0.4"/>
        <body name="${at}_thigh" pos="0 $out 0">
          <joint name="${at}_pitch" axis="0 1 0" range="-1.4 2.2"/>
          <geom type="capsule" size="0.02" fromto="0 0 0 $back 0 $down" mass="0.5"/>
          <body name="${at}_shin" pos="$back 0 $down">
            <joint name="${at}_knee" axis="0 1 0" range="-2.2 0.4"/>
            <geom type="capsule" size="0.014" fromto="0 0 0 $fore 0 $down" mass="0.2"/>
            <geom name="${at}_foot" class="touch" type="sphere" size="0.025" pos="$fore 0 $down"
                  mass="0.05"/>
          </body>
        </body>
      </body>""")


def _head(name: str, dt: float, friction: float, armature: float, damping: float) -> str:
    given = {
        "name": name,
        "dt": dt,
        "friction": friction,
        "armature": armature,
        "damping": damping,
    }
    return Template(_HEAD).substitute(given)


def _on(head: str, ground: Terrain) -> str:
    """A head with ground instead of its floor; beyond its edges a floor is 5 cm below."""
    z, (x0, y0), (x1, y1) = ground.heights, ground.low, ground.high
    top = max(float(z.max() - z.min()), 1e-3)
    rows, columns = z.shape
    listed = " ".join(f"{value:.4f}" for value in z[::-1].flat)  # the file begins at the far side
    field = (
        f'<asset><hfield name="terrain" nrow="{rows}" ncol="{columns}" '
        f'size="{(x1 - x0) / 2:g} {(y1 - y0) / 2:g} {top:.5f} 0.05" elevation="{listed}"/></asset>'
    )
    geom = (
        f'<geom name="terrain" class="touch" type="hfield" hfield="terrain" '
        f'pos="{(x0 + x1) / 2:g} {(y0 + y1) / 2:g} {float(z.min()):.5f}"/>'
    )
    below = _FLOOR.replace("/>", ' pos="0 0 -0.05"/>')
    return head.replace(_FLOOR, f"{geom}\n    {below}").replace(
        "  <worldbody>", f"  {field}\n  <worldbody>"
    )


def quadruped(
    *,
    dt: float = 0.004,
    trunk: tuple[float, float, float] = (0.2, 0.1, 0.05),
    leg: float = 0.38,
    mass: float = 6.0,
    gain: float = 40.0,
    friction: float = 0.8,
    terrain: Terrain | None = None,
    more: str = "",
) -> str:
    """A trunk on four legs of three hinges each; position servos of `gain` [N m / rad].

    Args:
        dt: of the simulation [s].
        trunk: its half sides.
        leg: length of a leg, thigh and shin alike.
        mass: of the trunk.
        gain: of the servos; they damp with a fortieth of it [N m s / rad].
        friction: of the feet on the floor.
        terrain: what it walks on, instead of a floor.
        more: MJCF of other bodies (see `thing`).
    """
    half = leg / 2
    back, down = -0.5 * half, -(0.75**0.5) * half
    height = -2 * down + (0.024 if terrain is None else 0.025)
    legs, motors = "", ""
    corners = {"fl": (1, 1), "fr": (1, -1), "rl": (-1, 1), "rr": (-1, -1)}
    for at, (front, left) in corners.items():
        legs += _LEG.substitute(
            at=at,
            x=0.9 * trunk[0] * front,
            y=trunk[1] * left,
            out=0.04 * left,
            back=f"{back:.5f}",
            fore=f"{-back:.5f}",
            down=f"{down:.5f}",
        )
        for joint, reach in (("roll", 0.7), ("pitch", 1.2), ("knee", 1.2)):
            motors += (
                f'\n    <position name="{at}_{joint}" joint="{at}_{joint}" kp="{gain}" '
                f'kv="{gain / 40}" ctrlrange="-{reach} {reach}" forcerange="-30 30"/>'
            )
    sides = " ".join(str(x) for x in trunk)
    head = _head("quadruped", dt, friction, 0.01, 0.5)
    return (
        (head if terrain is None else _on(head, terrain))
        + f"""    <body name="trunk" pos="0 0 {height:.5f}">
      <freejoint name="root"/>
      <geom class="touch" type="box" size="{sides}" mass="{mass}"/>{legs}
    </body>
    {more}  </worldbody>
  <actuator>{motors}
  </actuator>
</mujoco>
"""
    )


def hopper(*, dt: float = 0.004, friction: float = 1.0, torque: float = 60.0) -> str:
    """A trunk on one leg that moves in the plane y = 0: two slides and a hinge for the trunk, then
    hip, knee and ankle with motors of at most `torque` [N m]."""
    return (
        _head("hopper", dt, friction, 0.05, 1.0)
        + f"""    <body name="trunk" pos="0 0 1.25">
      <joint name="x" type="slide" axis="1 0 0" armature="0" damping="0"/>
      <joint name="z" type="slide" axis="0 0 1" armature="0" damping="0"/>
      <joint name="tilt" axis="0 1 0" armature="0" damping="0"/>
      <geom class="touch" type="capsule" fromto="0 0 0.2 0 0 -0.2" size="0.05" mass="3.5"/>
      <body name="thigh" pos="0 0 -0.2">
        <joint name="hip" axis="0 1 0" range="-1.4 0.8"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.45" size="0.05" mass="3.5"/>
        <body name="shin" pos="0 0 -0.45">
          <joint name="knee" axis="0 1 0" range="-0.1 2.4"/>
          <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.04" mass="2.5"/>
          <body name="foot" pos="0 0 -0.5">
            <joint name="ankle" axis="0 1 0" range="-0.8 0.8"/>
            <geom class="touch" type="capsule" fromto="-0.13 0 -0.04 0.26 0 -0.04" size="0.06"
                  mass="1.5"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="hip" joint="hip" ctrlrange="-{torque} {torque}"/>
    <motor name="knee" joint="knee" ctrlrange="-{torque} {torque}"/>
    <motor name="ankle" joint="ankle" ctrlrange="-{torque / 2} {torque / 2}"/>
  </actuator>
</mujoco>
"""
    )


def thing(
    name: str,
    shape: str,
    size: tuple[float, ...],
    place: tuple[float, float, float],
    *,
    turn: float = 0.0,
    mass: float = 0.1,
    friction: float = 0.5,
) -> str:
    """A free body to handle, for `more` of `arm` and `gripper`.

    Args:
        name: of the body.
        shape: "ball", "can" (an upright cylinder that touches the ground with the corners of a box
            inside it, and all else with a capsule inside it, whose side is the same) or "block".
        size: radius; radius and half height, which is at least as large; half sides.
        place: of its middle.
        turn: about z [rad].
        mass: [kg].
        friction: with what is not rougher.

    A ball's turning is damped by 7 m r^2 [N m s / rad], so that it stops rolling in about 0.2 s.

    Raises:
        ValueError: there is no such shape, or the size does not fit it.
    """
    counts = {"ball": 1, "can": 2, "block": 3}
    if shape not in counts:
        raise ValueError(f"A thing is one of {', '.join(counts)}; got {shape!r}.")
    flat = shape == "can" and len(size) == 2 and size[1] < size[0]
    if len(size) != counts[shape] or min(size) <= 0 or flat:
        raise ValueError(
            f"The size of a {shape} is {counts[shape]} positive lengths, and a can is at least as "
            f"high as wide; got {size}."
        )
    sizes, damping = " ".join(str(x) for x in size), 0.0
    touching = f'class="touch" mass="{mass}" friction="{friction} 0.01 0.001"'
    if shape == "ball":
        geoms, damping = f'<geom {touching} type="sphere" size="{sizes}"/>', 7 * mass * size[0] ** 2
    elif shape == "block":
        geoms = f'<geom {touching} type="box" size="{sizes}"/>'
    else:
        side, inner = size[0] / 2**0.5, max(size[1] - size[0], 1e-4)
        geoms = (
            f'<geom {touching} type="cylinder" size="{sizes}" contype="0" conaffinity="0"/>'
            f'<geom class="touch" type="box" size="{side} {side} {size[1]}" mass="0" '
            f'friction="{friction} 0.01 0.001" contype="0" conaffinity="2"/>'
            f'<geom class="touch" type="capsule" size="{size[0]} {inner}" mass="0" '
            f'friction="{friction} 0.01 0.001"/>'
        )
    at = " ".join(str(x) for x in place)
    return (
        f'<body name="{name}" pos="{at}" euler="0 0 {turn}">'
        f'<joint name="{name}" type="free" armature="0" damping="{damping:.3g}"/>{geoms}</body>\n'
    )


def fixed(name: str, shape: str, size: tuple[float, ...], place: tuple[float, ...]) -> str:
    """A post (a "capsule" of a radius and half height) or "box" that stays where it is, for `more`
    of `arm` and `gripper`."""
    at, sizes = (" ".join(str(x) for x in row) for row in (place, size))
    return f'<geom name="{name}" class="touch" type="{shape}" size="{sizes}" pos="{at}"/>\n'


def _bench(head: str) -> str:
    """A head whose floor cans stand on."""
    return head.replace(_FLOOR, _FLOOR.replace("/>", ' contype="3"/>'))


def arm(
    *,
    dt: float = 0.004,
    links: tuple[float, ...] = (0.3, 0.25, 0.15),
    gain: float = 60.0,
    friction: float = 0.8,
    more: str = "",
) -> str:
    """An arm on a pedestal: it turns about z, then bends at each link; a ball at its tip pushes.

    Position servos of `gain` [N m / rad]; `links` are the lengths; `more` is MJCF of other bodies
    (see `thing`), which move on a floor of `friction` at least.
    """
    bodies, motors, closing = "", "", ""
    for i, length in enumerate(links):
        start = "0 0 0.06" if i == 0 else f"{links[i - 1]} 0 0"
        tip = i == len(links) - 1
        bodies += f"""
        <body name="link{i}" pos="{start}">
          <joint name="bend{i}" axis="0 1 0" range="-2.6 2.6"/>
          <geom class="touch" type="capsule" fromto="0 0 0 {length} 0 0" size="0.025"
                mass="0.6"/>"""
        if tip:
            bodies += f"""
          <geom name="tip" class="touch" type="sphere" pos="{length} 0 0" size="0.035"
                mass="0.1"/>"""
        closing += "</body>"
        motors += (
            f'\n    <position name="bend{i}" joint="bend{i}" kp="{gain}" kv="{gain / 20}" '
            'ctrlrange="-2.5 2.5" forcerange="-60 60"/>'
        )
    return (
        _bench(_head("arm", dt, friction, 0.02, 1.0))
        + f"""    <body name="pedestal" pos="0 0 0.2">
      <joint name="turn" axis="0 0 1" range="-3 3"/>
      <geom type="cylinder" size="0.06 0.05" mass="2"/>{bodies}
      {closing}
    </body>
    {more}  </worldbody>
  <actuator>
    <position name="turn" joint="turn" kp="{gain}" kv="{gain / 20}" ctrlrange="-3 3"
              forcerange="-60 60"/>{motors}
  </actuator>
</mujoco>
"""
    )


_HAND = """    <body name="hand" pos="0 0 0.3">
      <joint name="x" type="slide" axis="1 0 0" range="-0.5 0.5"/>
      <joint name="y" type="slide" axis="0 1 0" range="-0.5 0.5"/>
      <joint name="z" type="slide" axis="0 0 1" range="-0.3 0.3"/>
      <joint name="yaw" axis="0 0 1" range="-3.2 3.2"/>
      <geom type="box" size="0.02 0.08 0.012" pos="0 0 0.09" mass="0.6"/>
      <geom type="capsule" size="0.018" fromto="0 0 0.11 0 0 0.3" mass="0.4"/>"""

_FINGER = Template("""
      <body name="$name" pos="0 $at 0">
        <joint name="$name" type="slide" axis="0 $side 0" ref="$opening" range="0 $opening"/>
        <geom type="capsule" size="0.007" fromto="0 0 0.015 0 0 0.08" mass="0.06"/>
        <geom name="${name}_high" class="touch" conaffinity="0" type="capsule" size="$thick"
              fromto="-0.018 0 0.01 0.018 0 0.01" mass="0.02"/>
        <geom name="${name}_low" class="touch" conaffinity="0" type="capsule" size="$thick"
              fromto="-0.018 0 -0.01 0.018 0 -0.01" mass="0.02"/>
      </body>""")

PAD = 0.008
"""Radius of a pad of the gripper's fingers [m]; each has two, 2 cm above each other."""


def gripper(
    *,
    dt: float = 0.004,
    gain: float = 2000.0,
    grip: float = 40.0,
    opening: float = 0.06,
    friction: float = 0.8,
    more: str = "",
) -> str:
    """A hand on a gantry: slides along x, y and z, a turn about z, and two parallel fingers.

    The origin of the body "hand" is between the pads of the fingers, at a height of 0.3 + z; the
    joints "left" and "right" are the distances of their inner faces from it, along its y axis.

    Args:
        dt: of the simulation [s].
        gain: of the position servos of the slides [N/m], critically damped.
        grip: the most that a finger presses [N]; servos of 2500 N/m press less where they are told
            a place just inside what is held, and only then keep it in the middle.
        opening: how far each finger opens; servos may be told -0.02 m, to press.
        friction: of the floor and the pads, or of what they touch, where that is rougher.
        more: MJCF of other bodies (see `thing`).
    """
    damping, motors = 2 * (1.2 * gain) ** 0.5, ""
    for name, reach in (("x", 0.5), ("y", 0.5), ("z", 0.3)):
        motors += (
            f'\n    <position name="{name}" joint="{name}" kp="{gain}" kv="{damping:.4g}" '
            f'ctrlrange="-{reach} {reach}" forcerange="-150 150"/>'
        )
    motors += '\n    <position name="yaw" joint="yaw" kp="10" kv="0.6" ctrlrange="-3.2 3.2"/>'
    fingers = ""
    for name, side in (("left", 1), ("right", -1)):
        at = side * (opening + PAD)
        fingers += _FINGER.substitute(name=name, at=at, side=side, opening=opening, thick=PAD)
        motors += (
            f'\n    <position name="{name}" joint="{name}" kp="2500" kv="30" '
            f'ctrlrange="-0.02 {opening}" forcerange="-{grip} {grip}"/>'
        )
    return (
        _bench(_head("gripper", dt, friction, 0.005, 0.1))
        + _HAND
        + fingers
        + f"""
    </body>
    {more}  </worldbody>
  <actuator>{motors}
  </actuator>
</mujoco>
"""
    )
