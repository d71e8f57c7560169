"""Robots to begin with, as MJCF: a hopper, a quadruped and an arm, in sizes of one's choice.

All lengths [m], masses [kg]; z is up, x forward. They stand on (or are bolted to) a floor z = 0,
and touch it with feet and trunk.
"""

from __future__ import annotations

from string import Template

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


def quadruped(
    *,
    dt: float = 0.004,
    trunk: tuple[float, float, float] = (0.2, 0.1, 0.05),
    leg: float = 0.38,
    mass: float = 6.0,
    gain: float = 40.0,
    friction: float = 0.8,
) -> str:
    """A trunk on four legs of three hinges each; position servos of `gain` [N m / rad].

    Args:
        dt: of the simulation [s].
        trunk: its half sides.
        leg: length of a leg, thigh and shin alike.
        mass: of the trunk.
        gain: of the servos; they damp with a fortieth of it [N m s / rad].
        friction: of the feet on the floor.
    """
    half = leg / 2
    back, down = -0.5 * half, -(0.75**0.5) * half
    height = -2 * down + 0.024
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
    return (
        _head("quadruped", dt, friction, 0.01, 0.5)
        + f"""    <body name="trunk" pos="0 0 {height:.5f}">
      <freejoint name="root"/>
      <geom class="touch" type="box" size="{sides}" mass="{mass}"/>{legs}
    </body>
  </worldbody>
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
        <joint name="hip" axis="0 1 0" range="-0.3 1.6"/>
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


def arm(
    *, dt: float = 0.004, links: tuple[float, ...] = (0.3, 0.25, 0.15), gain: float = 60.0
) -> str:
    """An arm on a pedestal: it turns about z, then bends at each link; a ball at its tip pushes.

    Position servos of `gain` [N m / rad]; `links` are the lengths.
    """
    bodies, motors, closing = "", "", ""
    for i, length in enumerate(links):
        start = "0 0 0.06" if i == 0 else f"{links[i - 1]} 0 0"
        tip = i == len(links) - 1
        bodies += f"""
        <body name="link{i}" pos="{start}">
          <joint name="bend{i}" axis="0 1 0" range="-2.2 2.2"/>
          <geom class="touch" type="capsule" fromto="0 0 0 {length} 0 0" size="0.025"
                mass="0.6"/>"""
        if tip:
            bodies += f"""
          <geom name="tip" class="touch" type="sphere" pos="{length} 0 0" size="0.035"
                mass="0.1"/>"""
        closing += "</body>"
        motors += (
            f'\n    <position name="bend{i}" joint="bend{i}" kp="{gain}" kv="{gain / 20}" '
            'ctrlrange="-2 2" forcerange="-60 60"/>'
        )
    return (
        _head("arm", dt, 0.8, 0.02, 1.0)
        + f"""    <body name="pedestal" pos="0 0 0.2">
      <joint name="turn" axis="0 0 1" range="-3 3"/>
      <geom type="cylinder" size="0.06 0.05" mass="2"/>{bodies}
      {closing}
    </body>
  </worldbody>
  <actuator>
    <position name="turn" joint="turn" kp="{gain}" kv="{gain / 20}" ctrlrange="-3 3"
              forcerange="-60 60"/>{motors}
  </actuator>
</mujoco>
"""
    )
