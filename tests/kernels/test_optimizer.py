"""Optimizer steps: the compiled kernels and their twins against PyTorch."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

from pysurgeon import kernels
from pysurgeon.errors import DataError, UsageError
from pysurgeon.kernels import CohortIndex, reference

BOTH = pytest.mark.parametrize("backend", [kernels, reference], ids=["native", "reference"])
ADAMW = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.05}
SGD = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False}


def arrays(count, shape=101, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


def misaligned(values):
    """A copy of them, writable, that starts 4 bytes behind a 64-byte boundary."""
    buffer = np.zeros(values.size + 32, dtype=np.float32)
    offset = (-buffer.ctypes.data // 4) % 16 + 1
    view = buffer[offset : offset + values.size]
    view[...] = values
    assert view.ctypes.data % 64 == 4
    return view


@BOTH
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1001])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_adamw_follows_torch(backend: ModuleType, size, weight_decay, scale):
    settings = ADAMW | {"weight_decay": weight_decay}
    (parameter,) = arrays(1, size)
    trained = torch.nn.Parameter(torch.from_numpy(parameter.copy()))
    optimizer = torch.optim.AdamW(
        [trained], lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay, foreach=False
    )
    m, v = np.zeros_like(parameter), np.zeros_like(parameter)
    for step in range(1, 21):
        (gradient,) = arrays(1, size, seed=step)
        gradient *= 10.0 ** (step % 5 - 3)
        trained.grad = torch.from_numpy(gradient) * scale
        optimizer.step()
        backend.adamw_step(parameter, gradient, m, v, step=step, gradient_scale=scale, **settings)
        np.testing.assert_allclose(parameter, trained.detach().numpy(), rtol=1e-5, atol=1e-6)
    if size:
        state = optimizer.state[trained]
        np.testing.assert_allclose(m, state["exp_avg"].numpy(), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(v, state["exp_avg_sq"].numpy(), rtol=1e-5, atol=1e-9)


@BOTH
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_sgd_follows_torch(backend: ModuleType, momentum, nesterov, weight_decay, scale):
    (parameter,) = arrays(1, 1001)
    trained = torch.nn.Parameter(torch.from_numpy(parameter.copy()))
    optimizer = torch.optim.SGD([trained], lr=0.1, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov)
    buffer = np.zeros_like(parameter) if momentum else None
    settings = {"learning_rate": 0.1, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
    for step in range(20):
        (gradient,) = arrays(1, 1001, seed=step + 1)
        trained.grad = torch.from_numpy(gradient) * scale
        optimizer.step()
        backend.sgd_step(parameter, gradient, buffer, gradient_scale=scale, **settings)
        np.testing.assert_allclose(parameter, trained.detach().numpy(), rtol=1e-5, atol=3e-6)


def test_without_momentum_the_buffer_is_left_alone():
    parameter, gradient, buffer = arrays(3)
    before = buffer.copy()
    kernels.sgd_step(parameter, gradient, buffer, **SGD | {"momentum": 0.0})
    np.testing.assert_array_equal(buffer, before)


@pytest.mark.parametrize("shape", [(3, 5, 7), (1,), (64, 33)])
def test_steps_are_in_place_on_live_views(shape):
    """Nothing is copied: a view that starts anywhere, of any shape, and its owner sees the step."""
    for make in (np.copy, lambda values: misaligned(values.ravel()).reshape(shape)):
        given, twin = ([make(values) for values in arrays(4, shape)] for _ in range(2))
        for family in (given, twin):
            np.abs(family[3], out=family[3])
        gradient = given[1].copy()
        given[1].flags.writeable = False
        kernels.adamw_step(*given, step=3, **ADAMW)
        reference.adamw_step(*twin, step=3, **ADAMW)
        for a, b in zip(given, twin, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        kernels.sgd_step(*given[:3], **SGD)
        reference.sgd_step(*twin[:3], **SGD)
        for a, b in zip(given, twin, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)
        np.testing.assert_array_equal(given[1], gradient)


def test_a_step_is_the_same_wherever_it_starts():
    """Vectorised middle and scalar ends round alike, so cutting an array in two changes nothing."""
    whole = arrays(4, 203)
    np.abs(whole[3], out=whole[3])
    parts = [values.copy() for values in whole]
    kernels.adamw_step(*whole, step=2, **ADAMW)
    kernels.sgd_step(*whole[:3], **SGD)
    for cut in (slice(0, 77), slice(77, 203)):
        kernels.adamw_step(*(values[cut] for values in parts), step=2, **ADAMW)
        kernels.sgd_step(*(values[cut] for values in parts[:3]), **SGD)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


def cohorts(size, longest, seed=0):
    """Cohorts 0 to 2 in runs of up to so many elements."""
    rng = np.random.default_rng(seed)
    runs = rng.integers(1, longest + 1, size + 1)
    return np.repeat(rng.integers(0, 3, size + 1), runs)[:size].astype(np.uint16)


@BOTH
@pytest.mark.parametrize("longest", [1, 20, 700, 5000])
@pytest.mark.parametrize("size", [0, 1, 17, 1001, 3000])
def test_cohorts_take_the_steps_that_they_would_take_alone(backend: ModuleType, size, longest):
    """To the bit, so that what an operation adds to a parameter does not change what was there."""
    rates, steps, cohort = [0.01, 0.002, 0.5], [900, 3, 1], cohorts(size, longest, seed=size)
    of = CohortIndex(cohort)
    given = arrays(4, size)
    np.abs(given[3], out=given[3])
    for kind in ("adamw", "sgd", "momentum", "nesterov"):
        mixed = [values.copy() for values in given]
        if kind == "adamw":
            step = backend.adamw_step
            settings = {k: v for k, v in ADAMW.items() if k != "learning_rate"}
            step(*mixed, learning_rate=rates, step=steps, cohort=of, **settings)
        else:
            step, mixed = backend.sgd_step, mixed[:3]
            settings = {"momentum": 0.0 if kind == "sgd" else 0.9, "weight_decay": 0.01, "nesterov": kind == "nesterov"}
            step(*mixed, learning_rate=rates, cohort=of, **settings)
        for k, rate in enumerate(rates):
            alone = [values.copy() for values in given[: len(mixed)]]
            step(*alone, learning_rate=rate, **settings, **({"step": steps[k]} if kind == "adamw" else {}))
            for a, b in zip(mixed, alone, strict=True):
                np.testing.assert_array_equal(a[cohort == k], b[cohort == k])


@BOTH
def test_cohorts_that_do_not_fit_are_refused(backend: ModuleType):
    given = arrays(4)
    cohort = CohortIndex(np.ones(101, np.uint16))
    two = {**ADAMW, "learning_rate": [0.1, 0.2]}
    for wrong, error in (
        ({**two, "step": [1, 1]}, UsageError),
        ({**two, "step": [1], "cohort": cohort}, UsageError),
        ({**two, "step": [1, 0], "cohort": cohort}, UsageError),
        ({**two, "step": [1, 1], "cohort": CohortIndex(cohort.array + np.uint16(1))}, UsageError),
        ({**two, "step": [1, 1], "cohort": CohortIndex(cohort.array[1:])}, DataError),
        ({**two, "step": [1, 1], "cohort": cohort.array}, DataError),
    ):
        before = given[0].copy()
        with pytest.raises(error, match=r"cohort|step"):
            backend.adamw_step(*given, **wrong)
        np.testing.assert_array_equal(given[0], before)
    with pytest.raises(UsageError, match="no learning rate"):
        backend.sgd_step(*given[:3], **SGD, cohort=cohort)
    for wrong in (np.ones(101, np.int64), [0, 1]):
        with pytest.raises(DataError, match="expected a uint16 array"):
            CohortIndex(wrong)


def test_what_was_checked_cannot_change():
    given = np.zeros(202, np.uint16)
    for array in (given, given[::2]):
        index = CohortIndex(array)
        given[0] = 7
        assert index.count == 1
        assert not index.array.any()
        assert index.array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            index.array[0] = 7
        given[0] = 0


BAD_VIEWS = {
    "float64": lambda a: a.astype(np.float64),
    "strided": lambda a: np.repeat(a, 2)[::2],
    "big-endian": lambda a: a.astype(">f4"),
    "at an odd byte": lambda a: np.frombuffer(bytearray(a.nbytes + 1), dtype=np.uint8)[1:].view(np.float32),
    "a list": lambda a: a.tolist(),
}


@BOTH
@pytest.mark.parametrize("kind", BAD_VIEWS)
@pytest.mark.parametrize("position", [0, 1, 2, 3])
def test_what_would_need_a_copy_is_refused(backend: ModuleType, kind, position):
    given = arrays(4)
    given[position] = BAD_VIEWS[kind](given[position])
    name = ("parameter", "gradient", "m", "v")[position]
    with pytest.raises(DataError, match=f"^{name} (is|has) .*never copied"):
        backend.adamw_step(*given, step=1, **ADAMW)
    if position < 3:
        with pytest.raises(DataError, match="never copied"):
            backend.sgd_step(*given[:3], **SGD)
    with pytest.raises(DataError, match="never copied"):
        backend.sum_of_squares(given[position])


@BOTH
@pytest.mark.parametrize("position", [0, 2, 3])
def test_read_only_is_refused_and_nothing_written(backend: ModuleType, position):
    given = arrays(4)
    before = [values.copy() for values in given]
    given[position].flags.writeable = False
    with pytest.raises(DataError, match="read-only"):
        backend.adamw_step(*given, step=1, **ADAMW)
    if position < 3:
        with pytest.raises(DataError, match="read-only"):
            backend.sgd_step(*given[:3], **SGD)
    for a, b in zip(given, before, strict=True):
        np.testing.assert_array_equal(a, b)


@BOTH
@pytest.mark.parametrize("position", [1, 2, 3])
def test_other_shapes_are_refused(backend: ModuleType, position):
    given = arrays(4)
    given[position] = given[position][:-1]
    with pytest.raises(DataError, match=r"has shape \(100,\)"):
        backend.adamw_step(*given, step=1, **ADAMW)
    if position < 3:
        with pytest.raises(DataError, match=r"has shape \(100,\)"):
            backend.sgd_step(*given[:3], **SGD)


@BOTH
def test_settings_out_of_range_are_refused(backend: ModuleType):
    given = arrays(4)
    for wrong in ({"beta1": 1.0}, {"beta2": -0.1}, {"beta1": np.nan}, {"step": 0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            backend.adamw_step(*given, **{"step": 1} | ADAMW | wrong)
    with pytest.raises(UsageError, match="nesterov"):
        backend.sgd_step(*given[:3], **SGD | {"momentum": 0.0, "nesterov": True})
    with pytest.raises(UsageError, match="momentum"):
        backend.sgd_step(*given[:3], **SGD | {"momentum": -0.5})
    with pytest.raises(DataError, match="no momentum_buffer"):
        backend.sgd_step(*given[:2], None, **SGD)


@BOTH
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100_003])
def test_sum_of_squares(backend: ModuleType, size):
    (values,) = arrays(1, size)
    assert backend.sum_of_squares(values) == pytest.approx(float(np.sum(values.astype(np.float64) ** 2)), rel=1e-13)


@BOTH
def test_sum_of_squares_needs_float64(backend: ModuleType):
    values = np.full((1000, 1000), 0.1, dtype=np.float32)
    values[0, 0] = 1e20  # its square is beyond float32
    exact = float(np.float64(np.float32(1e20)) ** 2)
    assert backend.sum_of_squares(values) == pytest.approx(exact, rel=1e-12)
    values[0, 0] = 0.1
    values.flags.writeable = False
    assert backend.sum_of_squares(values) == pytest.approx(1e6 * float(np.float32(0.1)) ** 2, rel=1e-10)


@BOTH
def test_sum_of_squares_passes_on_what_is_not_finite(backend: ModuleType):
    (values,) = arrays(1)
    values[50] = np.nan
    assert np.isnan(backend.sum_of_squares(values))
    values[50] = np.inf
    assert backend.sum_of_squares(values) == np.inf
