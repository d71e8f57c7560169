"""What should I do? Model-predictive control with any world model."""

from reverie.plan.cem import CEM, icem
from reverie.plan.clock import Clock, Timing
from reverie.plan.cost import PlanCost
from reverie.plan.gradient import Gradient, Hybrid
from reverie.plan.mpc import MPC, MPCConfig
from reverie.plan.mppi import MPPI, tdmpc2_mppi
from reverie.plan.objective import Goal, Objective, Reward, Stage, Terminal
from reverie.plan.search import Box, Optimiser, PlanningError, Solved, Start, minimise

__all__ = [
    "CEM",
    "MPC",
    "MPPI",
    "Box",
    "Clock",
    "Goal",
    "Gradient",
    "Hybrid",
    "MPCConfig",
    "Objective",
    "Optimiser",
    "PlanCost",
    "PlanningError",
    "Reward",
    "Solved",
    "Stage",
    "Start",
    "Terminal",
    "Timing",
    "icem",
    "minimise",
    "tdmpc2_mppi",
]
