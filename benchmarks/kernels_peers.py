# ruff: noqa: ARG005 - every peer takes the ranks, those of values alone ignore them
"""The peers of the SVD kernels: what else computes the same, each as one function of a list of matrices."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch
from sklearn.utils.extmath import randomized_svd

Matrices = Sequence[np.ndarray]
Triplet = tuple[np.ndarray, np.ndarray, np.ndarray]


class Peer(NamedTuple):
    """One way to compute it; ``kind`` is SVD or Gram."""

    kind: str
    run: Callable[[Matrices, Sequence[int]], Any]


def each(one: Callable[[np.ndarray, int], Any]) -> Callable[[Matrices, Sequence[int]], Any]:
    """Applies a function to one matrix after the other."""
    return lambda matrices, ranks: [one(a, k) for a, k in zip(matrices, ranks, strict=True)]


def stacked(one: Callable[[torch.Tensor], Any], cut: Callable[[Any, int, int], Any]) -> Callable[..., Any]:
    """Applies a function of torch's to all matrices of a shape at once."""

    def run(matrices: Matrices, ranks: Sequence[int]) -> list[Any]:
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, a in enumerate(matrices):
            groups.setdefault(a.shape, []).append(i)
        found: list[Any] = [None] * len(matrices)
        for members in groups.values():
            batch = one(torch.from_numpy(np.stack([matrices[i] for i in members])))
            for place, i in enumerate(members):
                found[i] = cut(batch, place, ranks[i])
        return found

    return run


def roots(squares: np.ndarray) -> np.ndarray:
    """Singular values from ascending eigenvalues of a Gram matrix."""
    return np.sqrt(np.maximum(squares[::-1], 1e-30))


def smaller(a: np.ndarray) -> np.ndarray:
    """The matrix with its smaller side first."""
    return a if a.shape[0] <= a.shape[1] else a.T


def leading(triplet: Any, k: int) -> Triplet:
    """The first triplets of all."""
    u, s, vt = triplet
    return u[:, :k], s[:k], vt[:k]


def ascending(triplet: Any) -> Triplet:
    """What SciPy's svds gives, largest first."""
    u, s, vt = triplet
    return u[:, ::-1], s[::-1], vt[::-1]


def from_gram(a: np.ndarray, squares: np.ndarray, vectors: np.ndarray, k: int) -> Triplet:
    """Factors from the eigenvectors of a Gram matrix, ascending."""
    s, left = roots(squares)[:k], vectors[:, ::-1][:, :k]
    right = (left / s).T @ smaller(a).astype(left.dtype)
    return (left, s, right) if a.shape[0] <= a.shape[1] else (right.T, s, left.T)


def scipy_gram(a: np.ndarray, k: int) -> Triplet:
    """SciPy computes the wanted eigenvectors alone."""
    half = smaller(a)
    n = len(half)
    return from_gram(a, *scipy.linalg.eigh(half @ half.T, check_finite=False, subset_by_index=(n - k, n - 1)), k)


def torch_gram(a: np.ndarray, k: int) -> Triplet:
    """All eigenvectors by PyTorch."""
    half = torch.from_numpy(smaller(a))
    squares, vectors = torch.linalg.eigh(half @ half.T)
    return from_gram(a, squares.numpy(), vectors.numpy(), k)


def numpy_gram64(a: np.ndarray, k: int) -> Triplet:
    """All eigenvectors in float64."""
    half = smaller(a).astype(np.float64)
    return from_gram(a, *np.linalg.eigh(half @ half.T), k)


def svds(solver: str) -> Callable[[np.ndarray, int], Triplet]:
    """SciPy's iterative solvers."""

    def one(a: np.ndarray, k: int) -> Triplet:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seed = {} if solver == "arpack" else {"rng": 1}
            return ascending(scipy.sparse.linalg.svds(a, k, solver=solver, **seed))

    return one


def lowrank(a: np.ndarray, k: int) -> Triplet:
    """PyTorch's randomised SVD."""
    torch.manual_seed(0)
    u, s, v = torch.svd_lowrank(torch.from_numpy(a), k + 8, niter=4)
    return leading((u.numpy(), s.numpy(), v.numpy().T), k)


VALUES = {
    "numpy.linalg.svd": Peer("SVD", each(lambda a, k: np.linalg.svd(a, compute_uv=False))),
    "scipy.linalg.svdvals (gesdd)": Peer("SVD", each(lambda a, k: scipy.linalg.svdvals(a, check_finite=False))),
    "torch.linalg.svdvals": Peer("SVD", each(lambda a, k: torch.linalg.svdvals(torch.from_numpy(a)).numpy())),
    "torch.linalg.svdvals, batched": Peer("SVD", stacked(torch.linalg.svdvals, lambda batch, i, k: batch[i].numpy())),
    "numpy Gram, eigvalsh, float32": Peer(
        "Gram", each(lambda a, k: roots(np.linalg.eigvalsh(smaller(a) @ smaller(a).T)))
    ),
    "numpy Gram, scipy eigvalsh, float32": Peer(
        "Gram", each(lambda a, k: roots(scipy.linalg.eigvalsh(smaller(a) @ smaller(a).T, check_finite=False)))
    ),
    "numpy Gram, scipy eigvalsh, float64": Peer(
        "Gram",
        each(lambda a, k: roots(scipy.linalg.eigvalsh((h := smaller(a).astype("f8")) @ h.T, check_finite=False))),
    ),
    "torch Gram, eigvalsh, float32": Peer(
        "Gram", each(lambda a, k: roots(torch.linalg.eigvalsh((h := torch.from_numpy(smaller(a))) @ h.T).numpy()))
    ),
    "torch Gram, eigvalsh, batched": Peer(
        "Gram",
        stacked(
            lambda a: torch.linalg.eigvalsh(a @ a.mT if a.shape[1] <= a.shape[2] else a.mT @ a),
            lambda batch, i, k: roots(batch[i].numpy()),
        ),
    ),
}

FACTORS = {
    "numpy.linalg.svd": Peer("SVD", each(lambda a, k: leading(np.linalg.svd(a, full_matrices=False), k))),
    "scipy.linalg.svd (gesdd)": Peer(
        "SVD", each(lambda a, k: leading(scipy.linalg.svd(a, full_matrices=False, check_finite=False), k))
    ),
    "torch.linalg.svd": Peer(
        "SVD",
        each(lambda a, k: leading((x.numpy() for x in torch.linalg.svd(torch.from_numpy(a), full_matrices=False)), k)),
    ),
    "torch.linalg.svd, batched": Peer(
        "SVD",
        stacked(
            lambda a: torch.linalg.svd(a, full_matrices=False),
            lambda batch, i, k: leading((x[i].numpy() for x in batch), k),
        ),
    ),
    "numpy Gram, scipy eigh of k, float32": Peer("Gram", each(scipy_gram)),
    "torch Gram, eigh, float32": Peer("Gram", each(torch_gram)),
    "numpy Gram, eigh, float64": Peer("Gram", each(numpy_gram64)),
}

FEW = {
    **FACTORS,
    "scipy svds, arpack": Peer("SVD", each(svds("arpack"))),
    "scipy svds, propack": Peer("SVD", each(svds("propack"))),
    "scipy svds, lobpcg": Peer("SVD", each(svds("lobpcg"))),
    "scikit-learn randomized_svd": Peer("SVD", each(lambda a, k: randomized_svd(a, k, random_state=0))),
    "torch.svd_lowrank": Peer("SVD", each(lowrank)),
}


def eigen(headers: Path) -> tuple[dict[str, Peer], dict[str, Peer]]:
    """Eigen's values and factors, compiled for this processor; ``headers`` is the folder in which ``Eigen/Dense`` lies."""
    built = Path(tempfile.mkdtemp()) / "kernels_eigen.so"
    source = Path(__file__).with_name("kernels_eigen.cpp")
    options = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", f"-I{headers}"]
    subprocess.run(["g++", *options, str(source), "-o", str(built)], check=True)  # noqa: S607
    library = ctypes.CDLL(str(built))

    def call(routine: str, a: np.ndarray, rank: int, factors: bool) -> Any:
        m, n = a.shape
        u, s, vt = np.empty((m, rank), "f4"), np.empty(rank, "f4"), np.empty((rank, n), "f4")
        places = [x.ctypes.data_as(ctypes.c_void_p) for x in (u, s, vt)]
        if not factors:
            places[0] = places[2] = ctypes.c_void_p()
        size = (ctypes.c_long(m), ctypes.c_long(n), ctypes.c_long(rank))
        getattr(library, routine)(a.ctypes.data_as(ctypes.c_void_p), *size, *places)
        return (u, s, vt) if factors else s

    names = {"Eigen BDCSVD": ("SVD", "eigen_bdc"), "Eigen Gram": ("Gram", "eigen_gram")}
    return (
        {n: Peer(kind, each(lambda a, k, r=r: call(r, a, min(a.shape), False))) for n, (kind, r) in names.items()},
        {n: Peer(kind, each(lambda a, k, r=r: call(r, a, k, True))) for n, (kind, r) in names.items()},
    )
