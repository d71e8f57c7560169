"""Cloth and ropes: triangles and segments that stretch, bend, touch and are held."""

from reverie.physics.cloth.material import ClothParams, ClothState, Hold, at_rest, fabric
from reverie.physics.cloth.mesh import ClothMesh, grid, join, rope, sheet
from reverie.physics.cloth.solver import Cloth

__all__ = [
    "Cloth",
    "ClothMesh",
    "ClothParams",
    "ClothState",
    "Hold",
    "at_rest",
    "fabric",
    "grid",
    "join",
    "rope",
    "sheet",
]
