"""Small worlds for the tests of rigid bodies, and MuJoCo's view of them."""

import importlib.util

import mujoco
import numpy as np
import torch

from reverie.physics.rigid import RigidState, load, rigid_step

F64 = torch.float64

CHAIN = (
    '<mujoco><option timestep="0.002"><flag contact="disable"/></option><worldbody>'
    + "".join(
        f'<body pos="0 0 {0 if i == 0 else -0.2}"><joint axis="{i % 2} {1 - i % 2} 0.1" '
        'armature="0.02" damping="0.01"/><inertial pos="0.01 0 -0.1" mass="0.5" '
        'fullinertia="0.002 0.0022 0.0005 0.0001 0 -0.0001"/>'
        for i in range(12)
    )
    + "</body>" * 12
    + "</worldbody></mujoco>"
)

MIXED = """<mujoco><option timestep="0.002" gravity="0.3 -1 -9"><flag contact="disable"/></option>
<worldbody><body name="base" pos="0 0 1" euler="10 20 30"><joint type="slide" axis="1 0 0.2"
  damping="0.3"/><joint type="slide" axis="0 1 0" stiffness="20" springref="0.1"/>
  <joint axis="0 0 1" pos="0.1 0 0" ref="0.2" damping="0.1" armature="0.05"/>
  <geom type="box" size="0.1 0.2 0.05" mass="2"/>
  <body name="welded" pos="0.2 0 0" euler="0 30 0"><geom type="sphere" size="0.05" mass="0.3"/>
    <body name="swing" pos="0.1 0 0"><joint type="ball" pos="0 0.02 0" damping="0.02"
      armature="0.003"/><geom type="capsule" size="0.03" fromto="0 0 0 0.3 0.1 0" mass="0.7"/>
      <body name="finger" pos="0.3 0.1 0"><joint name="bend" axis="0 1 0" stiffness="3"
        springref="0.4"/><geom type="capsule" size="0.02" fromto="0 0 0 0.2 0 0" mass="0.2"/>
      </body></body></body></body>
  <body name="loose" pos="1 0 1"><freejoint/><geom type="ellipsoid" size="0.1 0.2 0.3" mass="1.5"
    pos="0.05 0 0"/><body name="arm" pos="0 0 0.3"><joint axis="1 1 0" damping="0.05"/>
    <geom type="cylinder" size="0.03 0.2" pos="0 0.2 0" mass="0.4"/></body></body>
</worldbody></mujoco>"""

QUADRUPED = (
    """<mujoco><compiler angle="radian"/><option timestep="0.004"/><default>
<geom density="1000" contype="0" conaffinity="0"/><joint armature="0.01" damping="0.5"/>
<default class="foot"><geom type="sphere" size="0.025" contype="1" conaffinity="0"
  friction="0.8"/></default></default>
<worldbody><geom name="floor" type="plane" size="9 9 1" contype="1" conaffinity="1"/>
<body name="trunk" pos="0 0 0.366"><freejoint/><geom type="box" size="0.2 0.1 0.05" mass="6"/>"""
    + "".join(
        f"""<body name="hip{k}" pos="{x} {y} 0"><joint name="roll{k}" axis="1 0 0" range="-1 1"/>
<geom type="sphere" size="0.03" mass="0.5"/><body pos="0 {0.4 * y} 0">
<joint name="pitch{k}" axis="0 1 0" range="-1.5 2"/>
<geom type="capsule" size="0.02" fromto="0 0 0 -0.1 0 -0.17" mass="0.6"/>
<body pos="-0.1 0 -0.17"><joint name="knee{k}" axis="0 1 0" range="-2 0.6"/>
<geom type="capsule" size="0.015" fromto="0 0 0 0.1 0 -0.17" mass="0.2"/>
<geom name="foot{k}" class="foot" pos="0.1 0 -0.17" mass="0.05"/></body></body></body>"""
        for k, (x, y) in enumerate(((0.18, 0.1), (0.18, -0.1), (-0.18, 0.1), (-0.18, -0.1)))
    )
    + "</body></worldbody><actuator>"
    + "".join(
        f'<position joint="{n}{k}" kp="60" kv="2" forcerange="-30 30" ctrlrange="-2 2"/>'
        for k in range(4)
        for n in ("roll", "pitch", "knee")
    )
    + "</actuator></mujoco>"
)


def world(bodies, gravity="0 0 -9.81", option=""):
    """A plane with bodies."""
    return (
        f'<mujoco><option gravity="{gravity}" timestep="0.001"{option}/><worldbody>'
        f'<geom name="floor" type="plane" size="9 9 1"/>{bodies}</worldbody></mujoco>'
    )


def stack(count, shift=0.0):
    """Boxes of 1 kg on each other, every other one aside."""
    return world(
        "".join(
            f'<body pos="{shift * (i % 2)} 0 {0.0999 + 0.1997 * i}"><freejoint/>'
            '<geom type="box" size="0.1 0.1 0.1" mass="1"/></body>'
            for i in range(count)
        )
    )


def gripper(shape='type="box" size="0.01 0.02 0.025"', apart=0.015):
    """A hand on a vertical slide with two fingers on horizontal ones, around a block of 0.1 kg.

    Controls: the height of the hand over its start, and how far each finger closes [m].
    """
    across = 0.0349 + apart
    return f"""<mujoco><option timestep="0.002"/><default><geom friction="0.8"/></default>
<worldbody>
<geom name="floor" type="plane" size="9 9 1"/>
<body name="hand" pos="0 0 0.03"><joint name="lift" type="slide" axis="0 0 1"/>
<inertial pos="0 0 0" mass="0.5" diaginertia="1e-3 1e-3 1e-3"/>
<body pos="{-across} 0 0"><joint name="left" type="slide" axis="1 0 0"/>
<geom {shape} mass="0.1"/></body>
<body pos="{across} 0 0"><joint name="right" type="slide" axis="-1 0 0"/>
<geom {shape} mass="0.1"/></body></body>
<body name="block" pos="0 0 0.0249"><freejoint/>
<geom type="box" size="0.025 0.025 0.025" mass="0.1"/></body></worldbody>
<actuator><position joint="lift" kp="2000" kv="150"/><position joint="left" kp="200" kv="10"/>
<position joint="right" kp="200" kv="10"/></actuator></mujoco>"""


def loaded(text, **options):
    return load(text, dtype=F64, **options)


def compiled(text):
    model = mujoco.MjModel.from_xml_string(text)
    return model, mujoco.MjData(model)


def random_state(model, data, seed, speed=1.0):
    """A random state, in MuJoCo and here."""
    rng = np.random.default_rng(seed)
    mujoco.mj_resetData(model, data)
    mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv) * 0.4, 1.0)
    data.qvel[:] = speed * rng.normal(size=model.nv)
    data.ctrl[:] = 0.3 * rng.normal(size=model.nu)
    return state_of(data), torch.tensor(data.ctrl)[None]


def state_of(data):
    return RigidState(torch.tensor(data.qpos)[None], torch.tensor(data.qvel)[None])


BACKEND = "auto" if importlib.util.find_spec("warp") else "torch"
"""The faster one; where both matter, a test says which."""


def with_contacts(found, **values):
    """The same, with other numbers for all contacts."""
    p = found.params.contacts
    full = {name: torch.full_like(p.friction, x) for name, x in values.items()}
    return found._replace(params=found.params._replace(contacts=p._replace(**full)))


def with_gravity(found, *gravity):
    params = found.params._replace(gravity=torch.tensor([gravity], dtype=F64))
    return found._replace(params=params)


def after(found, state, seconds, dt, control=None, backend=BACKEND):
    """The state after some seconds of steps of dt."""
    steps = round(seconds / dt)
    return rigid_step(found.model, state, found.params, control, steps * dt, steps, backend=backend)
