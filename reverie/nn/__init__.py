"""Tensor functions that families and policies share: layers with parameters, but without time."""
