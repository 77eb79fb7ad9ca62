"""Networks put together at random from blocks, for tests that should hold for any."""

from __future__ import annotations

import models
from hypothesis import strategies as st

from pysurgeon.model import Model, from_proto

TOKENS = 4
BLOCKS = (
    "dense",
    "residual",
    "shared",
    "gate",
    "concat",
    "attention",
    "norm",
    "slice",
    "shuffle",
    "mean",
    "swap",
    "pick",
    "embed",
    "cell",
    "heads",
    "each",
    "groups",
    "transposed",
)


class Builder:
    """Writes a model as ONNX text, one block after another, on a value (N, 4, width)."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.constants: dict[str, list[int]] = {}
        self.weights: dict[str, tuple[int, ...]] = {}
        self.value, self.width = "x", 6
        self._count = 0

    def name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def op(self, text: str) -> str:
        out = self.name()
        self.lines.append(f"{out} = {text}")
        return out

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = shape
        return name

    def ints(self, *values: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = list(values)
        return name

    def dense(self, source: str, given: int, wanted: int) -> str:
        product = self.op(f"MatMul ({source}, {self.weight(given, wanted)})")
        return self.op(f"Add ({product}, {self.weight(wanted)})")

    def add(self, block: str, size: int) -> None:
        getattr(self, f"_{block}")(size)

    def _dense(self, size: int) -> None:
        self.value, self.width = self.op(f"Relu ({self.dense(self.value, self.width, size)})"), size

    def _residual(self, size: int) -> None:
        hidden = self.op(f"Tanh ({self.dense(self.value, self.width, size)})")
        self.value = self.op(f"Add ({self.value}, {self.dense(hidden, size, self.width)})")

    def _shared(self, size: int) -> None:
        """One weight, used twice in a row."""
        weight = self.weight(self.width, self.width)
        for _ in range(2):
            product = self.op(f"MatMul ({self.value}, {weight})")
            self.value = self.op(f"Sigmoid ({product})")

    def _gate(self, size: int) -> None:
        both = self.dense(self.value, self.width, 2 * size)
        a, b = self.name(), self.name()
        self.lines.append(f"{a}, {b} = Split <axis = 2> ({both}, {self.ints(size, size)})")
        gate = self.op(f"Sigmoid ({b})")
        self.value, self.width = self.op(f"Mul ({a}, {gate})"), size

    def _concat(self, size: int) -> None:
        other = self.op(f"Relu ({self.dense(self.value, self.width, size)})")
        self.value, self.width = self.op(f"Concat <axis = 2> ({self.value}, {other})"), self.width + size

    def _attention(self, size: int) -> None:
        heads = self.ints(0, 0, 2, size)
        parts = []
        for order in ("0, 2, 1, 3", "0, 2, 3, 1", "0, 2, 1, 3"):
            split = self.op(f"Reshape ({self.dense(self.value, self.width, 2 * size)}, {heads})")
            parts.append(self.op(f"Transpose <perm = [{order}]> ({split})"))
        scores = self.op(f"MatMul ({parts[0]}, {parts[1]})")
        shares = self.op(f"Softmax <axis = -1> ({scores})")
        mixed = self.op(f"Transpose <perm = [0, 2, 1, 3]> ({self.op(f'MatMul ({shares}, {parts[2]})')})")
        flat = self.op(f"Reshape ({mixed}, {self.ints(0, 0, 2 * size)})")
        self.value = self.op(f"Add ({self.value}, {self.dense(flat, 2 * size, self.width)})")

    def _norm(self, size: int) -> None:
        """A large epsilon: two units that are almost equal would otherwise magnify rounding errors some hundred times."""
        scale, bias = self.weight(self.width), self.weight(self.width)
        self.value = self.op(f"LayerNormalization <axis = -1, epsilon = 0.5> ({self.value}, {scale}, {bias})")

    def _slice(self, size: int) -> None:
        if self.width > 2:
            ends = self.ints(1), self.ints(self.width), self.ints(2)
            self.value, self.width = self.op(f"Slice ({self.value}, {', '.join(ends)})"), self.width - 1

    def _shuffle(self, size: int) -> None:
        """Channels of two groups, interleaved."""
        if self.width % 2 == 0:
            apart = self.op(f"Reshape ({self.value}, {self.ints(0, 0, 2, self.width // 2)})")
            turned = self.op(f"Transpose <perm = [0, 1, 3, 2]> ({apart})")
            self.value = self.op(f"Reshape ({turned}, {self.ints(0, 0, self.width)})")

    def _mean(self, size: int) -> None:
        self.value = self.op(f"Sub ({self.value}, {self.op(f'ReduceMean <axes = [2]> ({self.value})')})")

    def _swap(self, size: int) -> None:
        """Two parts, the second one first, added to what they were."""
        if self.width > 1 and self.width % 2 == 0:
            a, b = self.name(), self.name()
            half = self.width // 2
            self.lines.append(f"{a}, {b} = Split <axis = 2> ({self.value}, {self.ints(half, half)})")
            turned = self.op(f"Concat <axis = 2> ({b}, {a})")
            self.value = self.op(f"Add ({self.value}, {turned})")

    def _pick(self, size: int) -> None:
        """The last unit, for all others."""
        last = self.op(f"Gather <axis = 2> ({self.value}, {self.ints(-1)})")
        self.value = self.op(f"Mul ({self.value}, {self.op(f'Sigmoid ({last})')})")

    def _embed(self, size: int) -> None:
        """Rows of a table, by the largest feature of each token of the input."""
        index = self.op("ArgMax <axis = 2, keepdims = 0> (x)")
        table = self.weight(6 + size, self.width)
        self.value = self.op(f"Add ({self.value}, {self.op(f'Gather ({table}, {index})')})")

    def _cell(self, size: int) -> None:
        """A recurrent cell, one of three, in one direction or both."""
        operator, gates = (("LSTM", 4), ("GRU", 3), ("RNN", 1))[size % 3]
        directions = 1 + (self.width + size) % 2
        shapes = (gates * size, self.width), (gates * size, size), (2 * gates * size,)
        operands = ", ".join(self.weight(directions, *s) for s in shapes)
        turned = self.op(f"Transpose <perm = [1, 0, 2]> ({self.value})")
        how = f'hidden_size = {size}, direction = "{("forward", "bidirectional")[directions - 1]}"'
        given = self.op(f"{operator} <{how}> ({turned}, {operands})")
        back = self.op(f"Transpose <perm = [2, 0, 1, 3]> ({given})")
        self.value = self.op(f"Reshape ({back}, {self.ints(0, 0, directions * size)})")
        self.width = directions * size

    def _heads(self, size: int) -> None:
        weights = self.weight(self.width, 2, size), self.weight(2, size, self.width)
        apart = self.op(f'Einsum <equation = "ntd,dhk->nthk"> ({self.value}, {weights[0]})')
        joined = self.op(f'Einsum <equation = "nthk,hkd->ntd"> ({self.op(f"Relu ({apart})")}, {weights[1]})')
        self.value = self.op(f"Add ({self.value}, {joined})")

    def _each(self, size: int) -> None:
        """A matrix of its own for every token."""
        axis, weight = self.ints(2), self.weight(TOKENS, self.width, size)
        product = self.op(f"MatMul ({self.op(f'Unsqueeze ({self.value}, {axis})')}, {weight})")
        self.value, self.width = self.op(f"Relu ({self.op(f'Squeeze ({product}, {axis})')})"), size

    def _groups(self, size: int) -> None:
        """A convolution in two groups along the tokens."""
        if self.width % 2 == 0:
            given = f"{self.weight(2 * size, self.width // 2, 3)}, {self.weight(2 * size)}"
            self._along_tokens(f"Conv <group = 2, pads = [1, 1]> (v, {given})", 2 * size)

    def _transposed(self, size: int) -> None:
        given = f"{self.weight(self.width, size, 3)}, {self.weight(size)}"
        self._along_tokens(f"ConvTranspose <pads = [1, 1]> (v, {given})", size)

    def _along_tokens(self, text: str, width: int) -> None:
        turned = self.op(f"Transpose <perm = [0, 2, 1]> ({self.value})")
        given = self.op(f"Tanh ({self.op(text.replace('(v,', f'({turned},'))})")
        self.value, self.width = self.op(f"Transpose <perm = [0, 2, 1]> ({given})"), width

    def model(self, seed: int) -> Model:
        # Blocks may cancel one another to nothing but rounding errors; the input keeps the scale of the outputs.
        kept, given = self.op(f"MatMul (x, {self.weight(6, 3)})"), self.weight(self.width, 3)
        self.lines.append(f"y = Add ({kept}, {self.op(f'MatMul ({self.value}, {given})')})")
        constants = ", ".join(f"int64[{len(v)}] {k} = {{{', '.join(map(str, v))}}}" for k, v in self.constants.items())
        text = (
            f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, {TOKENS}, 6] x) => (float[N, {TOKENS}, 3] y) '
            f"{f'<{constants}>' if constants else ''} {{ {' '.join(self.lines)} }}"
        )
        return from_proto(models.parsed(text, seed=seed, **self.weights))


@st.composite
def networks(draw: st.DrawFn) -> Model:
    builder = Builder()
    builder.add("dense", draw(st.integers(2, 7)))
    for block in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=5)):
        builder.add(block, draw(st.integers(2, 5)))
    return builder.model(draw(st.integers(0, 99)))
