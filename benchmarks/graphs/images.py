"""Blocks on images (batch, channels, height, width): convolutions, norms, pools, resampling."""

from __future__ import annotations

from benchmarks.graphs.maker import Maker, Size
from benchmarks.graphs.rows import Rows, activation


def conv(m: Maker, x: str, given: int, units: int, *, kernel: int = 3, group: int = 1, **how: object) -> str:
    """One convolution, its sizes kept but for strides; a bias or none."""
    weight = m.weight(units, given // group, kernel, kernel, fan=kernel * kernel * given // group)
    bias = [m.weight(units)] if m.chance(0.5) else ([""] if m.chance(0.1) else [])
    if "auto_pad" not in how and "dilations" not in how:
        how["pads"] = [kernel // 2] * 4
    shape = {"kernel_shape": [kernel, kernel]} if m.chance(0.8) else {}
    return m.op("Conv", x, weight, *bias, group=group if group > 1 or m.chance(0.3) else None, **shape, **how)


def act(m: Maker, x: str) -> str:
    """An activation whose parameters do not run along a channel."""
    return activation(m, x, 1)


def norm(m: Maker, x: str, units: int) -> str:
    """Of a batch, of every image, or of groups of channels."""
    kind = m.rng.choice(["batch", "batch", "instance", "groups", "layer", "none"])
    if kind == "batch":
        several = m.weight(units, around=1.0), m.weight(units), m.weight(units)
        spread = m.array(0.5 + m.numbers.random(units), "float32", kind="w")
        return m.op("BatchNormalization", x, *several, spread, epsilon=0.01)
    if kind == "instance":
        return m.op("InstanceNormalization", x, m.weight(units, around=1.0), m.weight(units), epsilon=0.1)
    if kind == "groups" and units % 2 == 0:
        scale, bias = m.weight(units, 1, 1, around=1.0), m.weight(units, 1, 1)
        if m.opset >= 21 and m.chance(0.5):
            flat = m.weight(units, around=1.0), m.weight(units)
            return m.op("GroupNormalization", x, *flat, num_groups=2, epsilon=0.1)
        ones, zeros = m.array([1.0] * 2, "float32"), m.array([0.0] * 2, "float32")
        shape = m.op("Shape", x)
        apart = m.op("InstanceNormalization", m.reshape(x, [0, 2, -1]), ones, zeros, epsilon=0.1)
        return m.op("Add", m.op("Mul", m.op("Reshape", apart, shape), scale), bias)
    if kind == "layer" and m.opset >= 17:
        last = m.op("Transpose", x, perm=[0, 2, 3, 1])
        out = m.op("LayerNormalization", last, m.weight(units, around=1.0), m.weight(units), axis=-1, epsilon=0.1)
        return m.op("Transpose", out, perm=[0, 3, 1, 2])
    return x


def plain(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Convolution, norm, activation; in groups, dilated, with automatic pads."""
    given = int(shape[1])
    group = m.rng.choice([1, 1, given] + [2] * (given % 2 == 0))
    units = group * m.rng.randint(1, max(1, 8 // group))
    how = m.rng.choice([{}, {}, {"auto_pad": "SAME_UPPER"}, {"dilations": [2, 2], "pads": [2, 2, 2, 2]}])
    out = conv(m, x, given, units, group=group, **how)
    return act(m, norm(m, out, units)), [shape[0], units, *shape[2:]]


def residual(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Two convolutions beside nothing, or three with a narrow or deep middle; now and then a gate of the channels."""
    units, middle = int(shape[1]), m.rng.randint(2, 8)
    if m.chance(0.5):
        out = act(m, norm(m, conv(m, x, units, middle), middle))
        out = norm(m, conv(m, out, middle, units), units)
    else:
        out = act(m, norm(m, conv(m, x, units, middle, kernel=1), middle))
        out = act(m, conv(m, out, middle, middle, group=middle))
        out = conv(m, gated(m, out, [shape[0], middle, *shape[2:]])[0], middle, units, kernel=1)
    total = m.op("Add", *m.rng.sample([x, out], 2))
    return (m.op("Relu", total) if m.chance(0.5) else total), shape


def gated(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Channels are scaled by what the whole image says of them."""
    units, hidden = int(shape[1]), m.rng.randint(1, 4)
    mean = m.op("GlobalAveragePool", x) if m.chance(0.6) else m.reduce("Mean", x, 2, 3, keep=True)
    inner = act(m, conv(m, mean, units, hidden, kernel=1))
    out = conv(m, inner, hidden, units, kernel=1)
    return m.op("Mul", x, m.op(m.rng.choice(["Sigmoid", "HardSigmoid"]), out)), shape


def pooled(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Half the size, where it is not too small already."""
    units = int(shape[1])
    if isinstance(shape[2], int) and shape[2] < 4:
        return x, shape
    even = all(isinstance(s, int) and s % 2 == 0 for s in shape[2:])
    way = m.rng.choice(["max", "average", "stride"] + ["focus"] * (m.opset >= 10 and even))
    if way == "focus":
        # Every second row and column, as in the first layer of YOLOv5.
        corners = []
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
            rows = m.slice(x, 2, row, 2**31 - 1, 2)
            corners.append(m.slice(rows, 3, column, 2**31 - 1, 2))
        return m.op("Concat", *corners, axis=1), [shape[0], 4 * units, *_halved(shape)]
    if way == "stride":
        more = m.rng.randint(2, 8)
        return conv(m, x, units, more, strides=[2, 2]), [shape[0], more, *_halved(shape)]
    if way == "max":
        return m.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), [shape[0], units, *_halved(shape)]
    how = m.rng.choice([{}, {"count_include_pad": 1}])
    out = m.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], **how)
    return out, [shape[0], units, *_halved(shape)]


def _halved(shape: list[Size]) -> list[Size]:
    return [s // 2 if isinstance(s, int) else s for s in shape[2:]]


def enlarged(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Twice the size, by a transposed convolution, by places, or by nothing learnt."""
    units = int(shape[1])
    size: list[Size] = [2 * s if isinstance(s, int) else s for s in shape[2:]]
    if isinstance(shape[2], int) and shape[2] > 8:
        return x, shape
    way = m.rng.choice(["transposed", "depth", "resize"])
    if way == "depth":
        wide = conv(m, x, units, 8, kernel=1)
        mode = {"mode": m.rng.choice(["DCR", "CRD"])} if m.opset >= 11 else {}
        return m.op("DepthToSpace", wide, blocksize=2, **mode), [shape[0], 2, *size]
    if way == "transposed":
        group = 2 if units % 2 == 0 and m.chance(0.4) else 1
        each = m.rng.randint(1, 4)
        weight = m.weight(units, each, 2, 2, fan=units)
        bias = [m.weight(each * group)] if m.chance(0.5) else []
        out = m.op("ConvTranspose", x, weight, *bias, strides=[2, 2], kernel_shape=[2, 2], group=group)
        return out, [shape[0], each * group, *size]
    scales = [1.0, 1.0, 2.0, 2.0]
    if m.opset < 9:
        return m.op("Upsample", x, mode="nearest", scales=scales), [shape[0], units, *size]
    given = m.array(scales, "float32")
    if m.opset < 11:
        return m.op("Upsample" if m.opset == 9 else "Resize", x, given, mode="nearest"), [shape[0], units, *size]
    if m.opset >= 13 and m.chance(0.5):
        shape_now = m.op("Shape", x)
        target = m.op("Mul", m.slice(shape_now, 0, 2, 4), m.ints(2))
        target = m.op("Concat", m.slice(shape_now, 0, 0, 2), target, axis=0)
        out = m.op("Resize", x, "", "", target, mode="nearest", coordinate_transformation_mode="asymmetric")
        return out, [shape[0], units, *size]
    roi = "" if m.opset >= 13 else m.array([], "float32")
    out = m.op("Resize", x, roi, given, mode="nearest", coordinate_transformation_mode="asymmetric")
    return out, [shape[0], units, *size]


def branches(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Channels split, some of them worked on, and joined again; or several convolutions side by side."""
    units = int(shape[1])
    if units >= 2 and m.chance(0.6):
        cut = m.rng.randint(1, units - 1)
        a, b = m.split(x, 1, cut, units - cut)
        c = act(m, conv(m, b, units - cut, units - cut))
        kept = [a, b, c] if m.chance(0.5) else [a, m.op("Add", b, c)]
        return m.op("Concat", *kept, axis=1), [shape[0], units + (units - cut) * (len(kept) - 2), *shape[2:]]
    sizes = [m.rng.randint(1, 4) for _ in range(2)]
    several = [act(m, conv(m, x, units, n, kernel=k)) for n, k in zip(sizes, (1, 3), strict=True)]
    several.append(m.op("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1]))
    return m.op("Concat", *several, axis=1), [shape[0], sum(sizes) + units, *shape[2:]]


def shuffled(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Channels of two groups, interleaved; sizes computed where they are not known."""
    units = int(shape[1])
    if units % 2:
        return looked_at(m, x, shape)
    known = all(isinstance(s, int) for s in shape[2:])
    size = [int(s) for s in shape[2:]] if known and m.chance(0.5) else m.dims(x, 2, 3)
    batch = m.dims(x, 0)[0] if m.chance(0.5) else 0
    apart = m.reshape(x, [batch, 2, units // 2, *size])
    return m.reshape(m.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), [batch, units, *size]), shape


def looked_at(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Places are scaled by what their channels say together."""
    both = [m.reduce(kind, x, 1, keep=True) for kind in ("Mean", "Max")]
    return m.op("Mul", x, m.op("Sigmoid", conv(m, m.op("Concat", *both, axis=1), 2, 1))), shape


def padded(m: Maker, x: str, shape: list[Size]) -> Rows:
    """Pads of their own before a convolution without, by reflection or zeros; or a norm across neighbours of a channel."""
    units, more = int(shape[1]), m.rng.randint(2, 6)
    if m.chance(0.2):
        return m.op("LRN", x, size=3, alpha=0.1), shape
    known = isinstance(shape[2], int) and shape[2] < 2
    wide = m.pad(x, 0, 0, 1, 1, 0, 0, 1, 1, mode="constant" if known else m.rng.choice(["constant", "reflect", "edge"]))
    weight = m.weight(more, units, 3, 3, fan=9 * units)
    return act(m, m.op("Conv", wide, weight, kernel_shape=[3, 3])), [shape[0], more, *shape[2:]]


def flat(m: Maker, x: str, shape: list[Size]) -> Rows:
    """To vectors, by all places where their number is known, else by their mean."""
    units, places = int(shape[1]), shape[2:]
    if all(isinstance(s, int) for s in places) and m.chance(0.6):
        total = units * int(places[0]) * int(places[1])
        way = m.rng.choice(["flatten", "zero", "computed"])
        if way == "flatten":
            return m.op("Flatten", x, axis=1), [shape[0], total]
        if way == "zero":
            return m.reshape(x, [0, m.rng.choice([total, -1])]), [shape[0], total]
        return m.reshape(x, [m.dims(x, 0)[0], m.rng.choice([total, -1])]), [shape[0], total]
    way = m.rng.choice(["pool", "mean", "squeeze"])
    if way == "mean":
        return m.reduce("Mean", x, 2, 3, keep=False), [shape[0], units]
    pooled = m.op(m.rng.choice(["GlobalAveragePool", "GlobalMaxPool"]), x)
    out = m.op("Flatten", pooled, axis=1) if way == "pool" else m.squeeze(pooled, 2, 3)
    return out, [shape[0], units]


def in_a_row(m: Maker, x: str, shape: list[Size]) -> Rows:
    """To a sequence of places."""
    units = int(shape[1])
    line = m.reshape(x, [0, units, -1]) if m.chance(0.5) else m.reshape(x, [m.dims(x, 0)[0], units, -1])
    return m.op("Transpose", line, perm=[0, 2, 1]), [shape[0], "P", units]


BLOCKS = (plain, plain, plain, residual, residual, gated, pooled, enlarged, branches, shuffled, looked_at, padded)
