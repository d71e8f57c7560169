"""What a world model speaks: the spaces of its observations and actions, and its promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

Input = Literal["params", "state", "action"]
Output = Literal["obs", "reward", "continues", "cost", "uncertainty"]
Bound = float | tuple[float, ...]

_DTYPES = ("float32", "float64", "uint8", "int64", "bool")
_FLOATS = ("float32", "float64")


@dataclass(frozen=True)
class Space:
    """The set of values of one tensor, without its batch axes.

    An image is `uint8` of shape `(C, h, w)`. A discrete choice among n is a one-hot
    vector: `Space((n,), discrete=True)`; adapters translate to and from integers.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    low: Bound = -math.inf
    """Smallest value, one for all entries or one each (flattened, row-major)."""
    high: Bound = math.inf
    unit: str = ""
    """SI unit of the entries, for example "rad/s"; empty where mixed or unknown."""
    discrete: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"Space dtype {self.dtype!r} is unknown; choose one of {_DTYPES}.")
        if any(n < 1 for n in self.shape):
            raise ValueError(
                f"Space shape {self.shape} has an empty axis; every axis must be >= 1."
            )
        for name, bound in (("low", self.low), ("high", self.high)):
            if isinstance(bound, tuple) and len(bound) != math.prod(self.shape):
                raise ValueError(
                    f"Space {name} has {len(bound)} entries but shape {self.shape} has "
                    f"{math.prod(self.shape)}; give one number, or one for each entry."
                )
        if self.discrete and (len(self.shape) != 1 or self.shape[0] < 2):
            raise ValueError(
                f"A discrete Space is a one-hot vector of at least 2 entries, not {self.shape}."
            )

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether the value is a picture: uint8 of shape `(C, h, w)`."""
        return self.dtype == "uint8" and len(self.shape) == 3

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype as torch names it."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def sample(self, *lead: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Random values `[*lead, *shape]`, on the CPU: uniform where both bounds are finite.

        Unbounded floats are normal (and kept within a single bound); unbounded integers are below
        256 for uint8 and below 10 for int64; a discrete choice is a uniform one-hot vector.
        """
        shape = (*lead, *self.shape)
        if self.discrete:
            choice = torch.randint(self.size, lead, generator=generator)
            return torch.nn.functional.one_hot(choice, self.size).float()
        low, high = (
            torch.tensor(bound, dtype=torch.float64).expand(self.size).reshape(self.shape)
            for bound in (self.low, self.high)
        )
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
        if self.dtype not in _FLOATS:
            top = {"uint8": 255.0, "bool": 1.0}.get(self.dtype, 9.0)
            low, high = torch.where(low.isinf(), 0, low), torch.where(high.isinf(), top, high)
            return (low + uniform * (high - low + 1)).floor().to(self.torch_dtype)
        normal = torch.randn(shape, generator=generator, dtype=torch.float64)
        free = normal.maximum(low).minimum(high)
        bounded = torch.where((high - low).isfinite(), low + uniform * (high - low), free)
        return bounded.to(self.torch_dtype)

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes the same space (infinite bounds as null)."""

        def bound(value: Bound) -> Any:
            if isinstance(value, tuple):
                return [bound(v) for v in value]
            return value if math.isfinite(value) else None

        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "low": bound(self.low),
            "high": bound(self.high),
            "unit": self.unit,
            "discrete": self.discrete,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Space:
        """The inverse of `to_json`."""

        def bound(value: Any, missing: float) -> Bound:
            if isinstance(value, list):
                return tuple(missing if v is None else float(v) for v in value)
            return missing if value is None else float(value)

        return Space(
            shape=tuple(int(n) for n in value["shape"]),
            dtype=str(value["dtype"]),
            low=bound(value["low"], -math.inf),
            high=bound(value["high"], math.inf),
            unit=str(value["unit"]),
            discrete=bool(value["discrete"]),
        )


@dataclass(frozen=True)
class Spec:
    """What a model reads and promises; planners and checks read it, never the model's class."""

    obs: Mapping[str, Space]
    """Space of each observation the model reads and decodes, by name."""
    action: Space
    """Space of one action, shape `(A,)`."""
    dt: float
    """World time per action [s]."""
    context: Mapping[str, Space] = field(default_factory=dict)
    """What is constant in an episode: task, text, masses [kg]; given once, to `initial`."""
    chunk: int = 1
    """n, the number of actions that one `step` and one `observe` consume."""
    provides: frozenset[Output] = frozenset()
    """Which of obs, reward, continues, cost, uncertainty the model predicts."""
    grad: frozenset[Input] = frozenset()
    """What `step` differentiates through."""

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"Spec chunk is {self.chunk}; a step consumes at least 1 action.")
        if len(self.action.shape) != 1:
            raise ValueError(f"Spec action has shape {self.action.shape}; an action is a vector.")
        if not self.dt > 0:
            raise ValueError(f"Spec dt is {self.dt} s; world time per action must be positive.")

    def require(self, *outputs: Output) -> None:
        """Raise one clear sentence where the model does not predict what a use needs."""
        missing = [name for name in outputs if name not in self.provides]
        if missing:
            raise ValueError(
                f"This needs a model that predicts {', '.join(missing)}; "
                f"the model provides {', '.join(sorted(self.provides)) or 'nothing'}."
            )
