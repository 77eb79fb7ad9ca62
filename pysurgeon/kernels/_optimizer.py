"""Optimizer steps in place, on the live parameters and gradients of a training engine.

The arrays are float32, C-contiguous and of one shape. They are written where they lie and never copied: what would
need a copy is refused. The formulas are those of ``torch.optim``.

Elements of one parameter may have been trained for different numbers of steps, since units were added to it. Such elements
are cohorts: each has a learning rate and a number of steps of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from pysurgeon.kernels import _native
from pysurgeon.kernels._arguments import CohortIndex, FloatArray, check_adamw, check_live, check_sgd


def adamw_step(
    parameter: FloatArray,
    gradient: FloatArray,
    m: FloatArray,
    v: FloatArray,
    *,
    learning_rate: float | Sequence[float],
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int | Sequence[int],
    cohort: CohortIndex | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Makes one step of AdamW: decoupled weight decay, bias correction, epsilon outside of the root.

    With ``g = gradient_scale * gradient``::

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        parameter = (1 - learning_rate weight_decay) parameter
                    - learning_rate / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + epsilon)

    Args:
        parameter: What is trained. Modified.
        gradient: Of the loss. Not modified; may be read-only.
        m: First moment, zeros before the first step. Modified.
        v: Second moment, zeros before the first step. Modified.
        learning_rate: Size of the step, or one for each cohort.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added to the denominator.
        weight_decay: The share of the parameter, times the learning rate, that is taken away.
        step: The number of this step, or one for each cohort; the first is 1.
        cohort: Which cohort an element belongs to. `None` where there is one of all.
        gradient_scale: Multiplies the gradient, to clip its norm or to average what was accumulated.

    Raises:
        DataError: An array is not what could be used without a copy, or the shapes differ.
        UsageError: ``beta1``, ``beta2`` or ``step`` is out of range, or there are not as many rates and steps as cohorts.
    """
    rates, steps = check_adamw(parameter, gradient, m, v, beta1, beta2, learning_rate, step, cohort)
    _native.adamw_step(
        parameter,
        gradient,
        m,
        v,
        learning_rates=rates,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        weight_decay=weight_decay,
        steps=steps,
        cohort=None if cohort is None else cohort.array,
        gradient_scale=gradient_scale,
    )


def sgd_step(
    parameter: FloatArray,
    gradient: FloatArray,
    momentum_buffer: FloatArray | None,
    *,
    learning_rate: float | Sequence[float],
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    cohort: CohortIndex | None = None,
    gradient_scale: float = 1.0,
) -> None:
    """Makes one step of stochastic gradient descent, with momentum where it is not zero.

    With ``g = gradient_scale * gradient + weight_decay * parameter``::

        momentum_buffer = momentum momentum_buffer + g
        parameter = parameter - learning_rate (g + momentum momentum_buffer   where nesterov, else momentum_buffer)

    Args:
        parameter: What is trained. Modified.
        gradient: Of the loss. Not modified; may be read-only.
        momentum_buffer: Zeros before the first step. Modified, unless the momentum is zero: then it may be None.
        learning_rate: Size of the step, or one for each cohort.
        momentum: Decay of the momentum buffer, 0 or more.
        weight_decay: The share of the parameter that is added to the gradient.
        nesterov: Whether the step looks ahead along the momentum, which must then be above zero.
        cohort: Which cohort an element belongs to. `None` where there is one of all.
        gradient_scale: Multiplies the gradient, to clip its norm or to average what was accumulated.

    Raises:
        DataError: An array is not what could be used without a copy, the shapes differ, or the momentum has no buffer.
        UsageError: ``momentum`` is out of range, or there are not as many rates as cohorts.
    """
    rates = check_sgd(parameter, gradient, momentum_buffer, momentum, nesterov, learning_rate, cohort)
    _native.sgd_step(
        parameter,
        gradient,
        momentum_buffer,
        learning_rates=rates,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=nesterov,
        cohort=None if cohort is None else cohort.array,
        gradient_scale=gradient_scale,
    )


def sum_of_squares(array: FloatArray) -> float:
    """Sums the squares of an array's elements in float64, for the norm of a gradient.

    Args:
        array: Float32, C-contiguous, of any shape. Not modified, not copied; may be read-only.

    Returns:
        The sum.

    Raises:
        DataError: It is not what could be used without a copy.
    """
    check_live(array, "array", writable=False)
    return _native.sum_of_squares(array)
