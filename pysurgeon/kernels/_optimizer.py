"""Optimizer steps in place, on the live parameters and gradients of a training engine.

The arrays are float32, C-contiguous and of one shape. They are written where they lie and never copied: what would
need a copy is refused. The formulas are those of ``torch.optim``.
"""

from __future__ import annotations

from pysurgeon.kernels import _native
from pysurgeon.kernels._arguments import FloatArray, check_adamw, check_live, check_sgd


def adamw_step(
    parameter: FloatArray,
    gradient: FloatArray,
    m: FloatArray,
    v: FloatArray,
    *,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    step: int,
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
        learning_rate: Size of the step.
        beta1: Decay of the first moment, from 0 to below 1.
        beta2: Decay of the second moment, from 0 to below 1.
        epsilon: Added to the denominator.
        weight_decay: The share of the parameter, times the learning rate, that is taken away.
        step: The number of this step; the first is 1.
        gradient_scale: Multiplies the gradient, to clip its norm or to average what was accumulated.

    Raises:
        DataError: An array is not what could be used without a copy, or the shapes differ.
        UsageError: ``beta1``, ``beta2`` or ``step`` is out of range.
    """
    check_adamw(parameter, gradient, m, v, beta1, beta2, step)
    _native.adamw_step(
        parameter,
        gradient,
        m,
        v,
        learning_rate=learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        weight_decay=weight_decay,
        step=step,
        gradient_scale=gradient_scale,
    )


def sgd_step(
    parameter: FloatArray,
    gradient: FloatArray,
    momentum_buffer: FloatArray | None,
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
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
        learning_rate: Size of the step.
        momentum: Decay of the momentum buffer, 0 or more.
        weight_decay: The share of the parameter that is added to the gradient.
        nesterov: Whether the step looks ahead along the momentum, which must then be above zero.
        gradient_scale: Multiplies the gradient, to clip its norm or to average what was accumulated.

    Raises:
        DataError: An array is not what could be used without a copy, the shapes differ, or the momentum has no buffer.
        UsageError: ``momentum`` is out of range.
    """
    check_sgd(parameter, gradient, momentum_buffer, momentum, nesterov)
    _native.sgd_step(
        parameter,
        gradient,
        momentum_buffer,
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        nesterov=nesterov,
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
