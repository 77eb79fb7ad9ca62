"""Unification: what it says about layouts is compared with what NumPy does to numbered elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from math import prod

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pysurgeon.graph import Array
from pysurgeon.graph.terms import Dim, Prod, Sum, Term, leaves, size
from pysurgeon.graph.unification import Solver
from pysurgeon.widths.axis_layout import Select, map_axis, term_size

# --- the simulation -----------------------------------------------------------------------------------------------------------


@dataclass
class Value:
    """An array of numbered elements, the terms of its axes, and how to make it again from a resized source."""

    array: Array
    terms: tuple[Term, ...]
    again: Callable[[Array, Mapping[Dim, int]], Array]


class Program:
    """Layout operators on one source, stated to the solver exactly as the operator rules state them."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.solver = Solver()
        source = np.arange(prod(shape), dtype=np.float32).reshape(shape)
        self.values = [Value(source, self._fresh(shape), lambda x, _: x)]

    def _fresh(self, shape: tuple[int, ...]) -> tuple[Term, ...]:
        return tuple(self.solver.fresh(s) for s in shape)

    def transpose(self, k: int, permutation: tuple[int, ...]) -> None:
        v = self.values[k]
        result = self._fresh(tuple(v.array.shape[a] for a in permutation))
        for term, axis in zip(result, permutation, strict=True):
            self.solver.unify(term, v.terms[axis], "transpose")
        self.values.append(
            Value(v.array.transpose(permutation), result, lambda x, n: v.again(x, n).transpose(permutation))
        )

    def reshape(self, k: int, shape: tuple[int, ...]) -> None:
        v = self.values[k]
        result = self._fresh(shape)
        self.solver.unify(Prod(v.terms), Prod(result), "reshape")

        def again(x: Array, resized: Mapping[Dim, int]) -> Array:
            return v.again(x, resized).reshape([term_size(self.solver.resolve(t), resized) for t in result])

        self.values.append(Value(v.array.reshape(shape), result, again))

    def concat(self, k: int, other: int, axis: int) -> None:
        a, b = self.values[k], self.values[other]
        shape = list(a.array.shape)
        shape[axis] += b.array.shape[axis]
        result = self._fresh(tuple(shape))
        for j, term in enumerate(result):
            if j != axis:
                self.solver.unify(a.terms[j], term, "concat")
                self.solver.unify(b.terms[j], term, "concat")
        self.solver.unify(result[axis], Sum((a.terms[axis], b.terms[axis])), "concat")
        joined = np.concatenate([a.array, b.array], axis)
        self.values.append(Value(joined, result, lambda x, n: np.concatenate([a.again(x, n), b.again(x, n)], axis)))


def positions(term: Term, dim: Dim, index: Array) -> tuple[Array, int]:
    """Which old element every element along an axis is after `dim` became `dim[index]`, and the axis's old size."""
    if isinstance(term, Dim):
        assert term.size is not None
        return (index if term is dim else np.arange(term.size)), term.size
    if isinstance(term, Sum):
        chosen, offset = [], 0
        for part in term.parts:
            inside, old = positions(part, dim, index)
            chosen.append(inside + offset)
            offset += old
        return np.concatenate(chosen), offset
    result, total = np.zeros(1, np.int64), 1
    for factor in term.factors:
        inside, old = positions(factor, dim, index)
        result = (result[:, None] * old + inside[None, :]).reshape(-1)
        total *= old
    return result, total


def gathered(array: Array, terms: tuple[Term, ...], dim: Dim, index: Array) -> Array:
    for axis, term in enumerate(terms):
        chosen, old = positions(term, dim, index)
        assert old == array.shape[axis]
        array = np.take(array, chosen, axis)
    return array


def assert_commutes(program: Program, dim: Dim, index: Array) -> None:
    """Resizing the source and running the program again gives the resized values."""
    resized = {dim: len(index)}
    terms = [tuple(program.solver.resolve(t) for t in v.terms) for v in program.values]
    source = gathered(program.values[0].array, terms[0], dim, index)
    for value, resolved in zip(program.values, terms, strict=True):
        expected = gathered(value.array, resolved, dim, index)
        np.testing.assert_array_equal(value.again(source, resized), expected)
        array = value.array
        for axis, term in enumerate(resolved):
            array = map_axis(array, axis, term, dim, Select.of(index))
        np.testing.assert_array_equal(array, expected)


@st.composite
def factorizations(draw: st.DrawFn, total: int) -> tuple[int, ...]:
    """A shape of so many elements, now and then with axes of size one."""
    shape: list[int] = []
    while total > 1 and len(shape) < 4:
        factor = draw(st.sampled_from([k for k in range(1, total + 1) if total % k == 0]))
        shape.append(factor)
        total //= factor
    return (*shape, total)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    program = Program(tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))))
    for _ in range(draw(st.integers(1, 5))):
        k = draw(st.integers(0, len(program.values) - 1))
        array = program.values[k].array
        kind = draw(st.sampled_from(["transpose", "reshape", "merge", "split", "concat"]))
        if kind == "transpose":
            program.transpose(k, draw(st.sampled_from(list(permutations(range(array.ndim))))))
        elif kind == "concat" and array.size <= 4000:
            axis = draw(st.integers(0, array.ndim - 1))
            rest = [s for j, s in enumerate(array.shape) if j != axis]
            fitting = [
                j
                for j, v in enumerate(program.values)
                if v.array.ndim == array.ndim and [s for i, s in enumerate(v.array.shape) if i != axis] == rest
            ]
            program.concat(k, draw(st.sampled_from(fitting)), axis)
        elif kind == "merge" and array.ndim > 1:
            axis = draw(st.integers(0, array.ndim - 2))
            shape = array.shape
            program.reshape(k, (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]))
        elif kind == "split":
            axis = draw(st.integers(0, array.ndim - 1))
            parts = draw(factorizations(array.shape[axis]))
            program.reshape(k, (*array.shape[:axis], *parts, *array.shape[axis + 1 :]))
        else:
            program.reshape(k, draw(factorizations(array.size)))
    return program


@settings(max_examples=250)
@given(program=programs(), data=st.data())
def test_resizing_commutes_with_layout_operators(program, data):
    terms = [program.solver.resolve(t) for v in program.values for t in v.terms]
    for value, resolved in zip(program.values, [v.terms for v in program.values], strict=True):
        assert tuple(size(program.solver.resolve(t)) for t in resolved) == value.array.shape
    dims = list(dict.fromkeys(d for t in terms for d in leaves(t)))
    free = [d for d in dims if not program.solver.reasons(d)]
    event(f"{len(free)} dims may be resized")
    for dim in free:
        index = np.array(data.draw(st.lists(st.integers(0, dim.size - 1), min_size=1, max_size=2 * dim.size)))
        assert_commutes(program, dim, index)


def test_the_simulation_sees_a_wrong_layout():
    program = Program((2, 3))
    program.transpose(0, (1, 0))
    a, b = program.solver.resolve(program.values[0].terms[0]), program.solver.resolve(program.values[0].terms[1])
    program.values[1].terms = (Prod((a, b)), program.solver.fresh(1))  # as if the transposition were a flattening
    program.values[1].array = program.values[1].array.reshape(6, 1)
    program.values[1].again = lambda x, _: x.T.reshape(-1, 1)
    with pytest.raises(AssertionError):
        assert_commutes(program, a, np.array([0, 1, 1]))


def test_merges_and_splits_that_align_pin_nothing():
    program = Program((2, 3, 4))
    program.reshape(0, (6, 4))
    program.reshape(1, (2, 12))
    program.reshape(2, (2, 3, 2, 2))
    program.concat(3, 3, 2)
    program.transpose(4, (3, 0, 2, 1))
    program.reshape(5, (2, 2, 12))
    dims = {d for v in program.values for t in v.terms for d in leaves(program.solver.resolve(t))}
    assert sorted(d.size for d in dims) == [2, 2, 2, 3]
    assert not any(program.solver.reasons(d) for d in dims)
    for dim in dims:
        assert_commutes(program, dim, np.array([0, 1, 0, 1]))


# --- single equations ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def solver() -> Solver:
    return Solver()


def resolved(solver: Solver, *terms: Term) -> list[str]:
    names: dict[Dim, str] = {}
    texts = []
    for term in terms:
        text = repr(solver.resolve(term))
        for d in leaves(solver.resolve(term)):
            names.setdefault(d, f"{'?' if d.size is None else d.size}{chr(97 + len(names))}")
            text = text.replace(repr(d), names[d])
        texts.append(text)
    return texts


def test_a_boundary_inside_a_dim_splits_it(solver):
    a, b, c = solver.fresh(6), solver.fresh(2), solver.fresh(3)
    solver.unify(a, Prod((b, c)), "here")
    assert solver.resolve(a) == Prod((b, c))
    d, e = solver.fresh(12), solver.fresh(4)
    solver.unify(Prod((d, e)), Prod((solver.fresh(3), solver.fresh(16))), "here")
    assert resolved(solver, d, e) == ["(3a*4b)", "4c"]


def test_factors_that_do_not_line_up_are_pinned_with_the_place(solver):
    a, b, c, d = (solver.fresh(k) for k in (4, 3, 6, 2))
    solver.unify(Prod((a, b)), Prod((c, d)), "Reshape 'r'")
    assert all("do not line up at Reshape 'r'" in " ".join(solver.reasons(x)) for x in (a, b, c, d))


def test_sizes_that_differ_are_pinned(solver):
    a, b = solver.fresh(4), solver.fresh(3)
    solver.unify(a, b, "Add 'x'")
    assert solver.reasons(a) == solver.reasons(b) == ("its two sides differ in size (4 and 3) at Add 'x'",)


def test_sums_are_cut_where_their_parts_end(solver):
    a, b = solver.fresh(5), solver.fresh(4)
    solver.unify(Sum((a, b)), Sum((solver.fresh(2), solver.fresh(7))), "here")
    assert resolved(solver, a, b) == ["(2a+3b)", "4c"]


def test_a_product_is_distributed_over_a_sum(solver):
    channels, pixels = solver.fresh(5), solver.fresh(9)
    left, right = solver.fresh(18), solver.fresh(27)
    solver.unify(Prod((channels, pixels)), Sum((left, right)), "here")
    assert resolved(solver, channels, left, right) == ["(2a+3b)", "(2a*9c)", "(3b*9c)"]


def test_a_cut_inside_an_inner_dim_is_pinned(solver):
    channels, pixels = solver.fresh(5), solver.fresh(9)
    solver.unify(Prod((channels, pixels)), Sum((solver.fresh(20), solver.fresh(25))), "here")
    assert solver.reasons(channels)
    assert solver.reasons(pixels)


def test_pins_follow_the_dims_that_they_are_on(solver):
    a, b, c, d = solver.fresh(6), solver.fresh(6), solver.fresh(2), solver.fresh(3)
    solver.pin(a, "because")
    solver.unify(a, b, "here")
    solver.unify(b, Prod((c, d)), "there")
    assert solver.reasons(c) == solver.reasons(d) == ("because",)


def test_two_unknown_batches_are_one_if_all_else_is_equal(solver):
    n, m = solver.fresh(None), solver.fresh(None)
    c, h, flat = solver.fresh(5), solver.fresh(4), solver.fresh(20)
    solver.unify(Prod((n, c, h)), Prod((m, flat)), "here")
    assert solver.resolve(n) == solver.resolve(m)
    assert solver.resolve(flat) == Prod((c, h))
    assert not solver.reasons(c)


def test_two_unknown_axes_that_become_one_leave_the_channels_alone(solver):
    """(N, T, C) -> (N*T, C): the first axes of the two sides are not the same."""
    n, t, m = (solver.fresh(None) for _ in range(3))
    c, d = solver.fresh(4), solver.fresh(4)
    solver.unify(Prod((n, t, c)), Prod((m, d)), "here")
    assert solver.resolve(c) == solver.resolve(d)
    assert solver.resolve(m) == Prod((n, t))
    assert not solver.reasons(solver.resolve(c))


def test_unknown_sizes_are_not_guessed_equal(solver):
    """(N, 4) -> (M, 8): M is half of N, so N is M times two."""
    n, m = solver.fresh(None), solver.fresh(None)
    a, b = solver.fresh(4), solver.fresh(8)
    solver.unify(Prod((n, a)), Prod((m, b)), "here")
    assert resolved(solver, n, m, a, b) == ["(?a*2b)", "?a", "4c", "(2b*4c)"]
    c, d = solver.fresh(4), solver.fresh(6)
    solver.unify(Prod((n, c)), Prod((solver.fresh(None), d)), "there")  # 4 and 6 do not line up
    assert solver.reasons(c)
    assert solver.reasons(d)
    p, q = solver.fresh(None), solver.fresh(None)
    solver.unify(Sum((p, solver.fresh(4))), Sum((q, solver.fresh(4))), "there")
    assert solver.resolve(p) != solver.resolve(q)


def test_a_known_size_is_not_made_of_unknown_ones(solver):
    """Pixels of unknown number before a dense layer: how the layer's inputs are laid out is not known."""
    c, h, w, inputs = solver.fresh(4), solver.fresh(None), solver.fresh(None), solver.fresh(64)
    solver.unify(Prod((c, h, w)), inputs, "Gemm 'fc'")
    assert solver.resolve(inputs) == inputs
    assert all("known size" in " ".join(solver.reasons(d)) for d in (c, inputs))


def test_a_dim_is_never_made_of_itself(solver):
    a, one = solver.fresh(4), solver.fresh(1)
    solver.unify(a, Prod((a, one)), "here")
    assert solver.resolve(a) == a
    assert solver.reasons(one)
    assert not solver.reasons(a)  # four is four times one, and so is any other number


@settings(max_examples=100)
@given(data=st.data())
def test_an_equation_may_be_turned_round_or_repeated(data):
    total = data.draw(st.sampled_from([6, 8, 12, 24, 36]))
    shapes = [data.draw(factorizations(total)) for _ in range(2)]
    outcomes = []
    for flip, times in ((False, 1), (True, 1), (False, 2)):
        solver = Solver()
        a, b = (Prod(tuple(solver.fresh(s) for s in shape)) for shape in shapes)
        for _ in range(times):
            solver.unify(*((b, a) if flip else (a, b)), "here")
        ra, rb = solver.resolve(a), solver.resolve(b)
        assert size(ra) == size(rb) == total
        pinned = [sum(map(bool, (solver.reasons(d) for d in leaves(t)))) for t in (ra, rb)]
        outcomes.append((ra == rb, pinned))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == outcomes[2][0]
