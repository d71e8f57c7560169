"""Differentiable physics: what matter does next, as pure functions of tensors, batch first.

Each solver has a torch reference, and Warp kernels that are held to it; `kernels` wraps Warp. No
type of Warp leaves this room.
"""
