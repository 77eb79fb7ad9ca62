"""The zeros around an axis that a window slides over."""

from __future__ import annotations


def same_padding(auto_pad: str, length: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after an axis that `auto_pad` stands for."""
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        return 0, 0
    extent = (kernel - 1) * dilation + 1
    total = max(0, (-(-length // stride) - 1) * stride + extent - length)
    return (total // 2, total - total // 2) if auto_pad == "SAME_UPPER" else (total - total // 2, total // 2)
