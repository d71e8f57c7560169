"""Was it right, and does it know when it is not?"""

from reverie.eval.gradient import (
    Difference,
    GradientCheck,
    GradientNorms,
    estimator_variance,
    finite_difference_check,
    gradient_norms,
)

__all__ = [
    "Difference",
    "GradientCheck",
    "GradientNorms",
    "estimator_variance",
    "finite_difference_check",
    "gradient_norms",
]
