"""The slow way to see: each ray against each triangle and each ball."""

import numpy as np


def rays(lens):
    """Origins and directions `[P, 3]` of all pixels, so that depth is the ray's parameter."""
    (u, v), f = lens.centre, lens.focal
    row, column = np.divmod(np.arange(lens.height * lens.width), lens.width)
    x, y = (column + 0.5 - u) / f, (row + 0.5 - v) / f
    flat = np.stack([x, y, np.zeros_like(x)], 1)
    ahead = np.broadcast_to([0.0, 0.0, 1.0], flat.shape)
    if lens.parallel:
        return flat, ahead
    return np.zeros_like(flat), flat + ahead


def cast_triangles(lens, points, faces):
    """Depth `[P, F]` of triangles (Moeller & Trumbore 1997), inf where missed."""
    origin, ray = rays(lens)
    a, b, c = points.T[faces.T].transpose(1, 0, 2)
    e1, e2 = b - a, c - a
    across = np.cross(ray[:, None], e2)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / (across * e1).sum(2)
        away = origin[:, None] - a
        u = (away * across).sum(2) * scale
        over = np.cross(away, e1)
        v = (ray[:, None] * over).sum(2) * scale
        depth = (e2 * over).sum(2) * scale
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (depth >= lens.near)
    return np.where(hit, depth, np.inf)


def cast_balls(lens, centres, radii):
    """Depth `[P, N]` of the front of balls, inf where missed."""
    origin, ray = rays(lens)
    away = origin[:, None] - centres.T
    a, b = (ray * ray).sum(1)[:, None], (ray[:, None] * away).sum(2)
    root = b * b - a * ((away * away).sum(2) - radii**2)
    depth = (-b - np.sqrt(np.maximum(root, 0))) / a
    return np.where((root >= 0) & (depth > 0), depth, np.inf)


def first(depth):
    """Who is nearest `[P]`, -1 for nobody, and how near."""
    best = depth.argmin(1)
    near = depth.min(1)
    return np.where(np.isfinite(near), best, -1), near
