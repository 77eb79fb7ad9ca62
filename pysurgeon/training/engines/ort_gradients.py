"""Which operators of the standard domain onnxruntime-training 1.19 has a right gradient for on the CPU.

Measured, not read: each was compared with differences of its outputs. What is missing here is either refused or has a
rewrite (`pysurgeon.training.derived_graph.rewrites`), which also covers the forms of these operators that come out wrong.
"""

from __future__ import annotations

WITH_GRADIENT = frozenset(
    (
        "Abs Add BatchNormalization Cast Clip Concat Conv Cos Div Erf Exp Expand Flatten Gather GatherElements GatherND "
        "Gelu Gemm GlobalAveragePool Identity LayerNormalization LeakyRelu Log LogSoftmax MatMul Max MaxPool Min Mul Neg "
        "Pad Pow Reciprocal ReduceL2 ReduceLogSumExp ReduceMean ReduceSum Relu Reshape ScatterElements ScatterND Sigmoid "
        "Sin Slice Softmax Split Sqrt Squeeze Sub Tanh Tile TopK Transpose Trilu Unsqueeze Where"
    ).split()
)
