"""Networks with layers that are no plain matrix: what operations on layers should know them by."""

from __future__ import annotations

import models

from pysurgeon.model import Model, from_proto

_TEXTS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "transposed": (
        """(float[N, 3, 4, 4] x) => (float[N, 2, 8, 8] y) {
            up = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]> (x, w1, b1)
            b = Relu (up)
            same = ConvTranspose <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (b, w2)
            d = Tanh (same)
            y = Conv (d, w3)
        }""",
        {"w1": (3, 5, 2, 2), "b1": (5,), "w2": (5, 6, 3, 3), "w3": (2, 6, 1, 1)},
    ),
    "embedding": (
        """(int64[N, 4] x) => (float[N, 4, 2] y) {
            table = Gather (t, x)
            a = MatMul (table, w1)
            b = Tanh (a)
            y = MatMul (b, w2)
        }""",
        {"t": (20, 7), "w1": (7, 6), "w2": (6, 2)},
    ),
    "cell": (
        """(float[T, N, 7] x) => (float[T, N, 2] y) <int64[1] one = {1}> {
            cell = LSTM <hidden_size = 5> (x, w, r)
            s = Squeeze (cell, one)
            y = MatMul (s, w1)
        }""",
        {"w": (1, 20, 7), "r": (1, 20, 5), "w1": (5, 2)},
    ),
    "state": (
        """(float[T, N, 7] x) => (float[1, N, 2] y) {
            all, state = GRU <hidden_size = 5> (x, w, r)
            y = MatMul (state, w1)
        }""",
        {"w": (1, 15, 7), "r": (1, 15, 5), "w1": (5, 2)},
    ),
    "einsum": (
        """(float[N, 4, 7] x) => (float[N, 4, 2] y) {
            apart = Einsum <equation = "ntd,dhk->nthk"> (x, w1)
            a = Relu (apart)
            joined = Einsum <equation = "nthk,hkd->ntd"> (a, w2)
            b = Sigmoid (joined)
            y = MatMul (b, w3)
        }""",
        {"w1": (7, 2, 3), "w2": (2, 3, 5), "w3": (5, 2)},
    ),
}
KINDS = tuple(_TEXTS)


def network(kind: str) -> Model:
    """One of `KINDS`."""
    text, weights = _TEXTS[kind]
    return from_proto(models.parsed(f'<ir_version: 8, opset_import: ["" : 17]> g {text}', **weights))
