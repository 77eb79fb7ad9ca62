"""Multilayer perceptrons of scikit-learn, converted by skl2onnx: MatMul and Add, labels beside probabilities."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx

from .seeds import seed

_FEATURES, _CLASSES, _TARGETS = 10, 5, 3
_OPTIONS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden_layer_sizes": (24, 18)},
    "mlp_tanh": {"hidden_layer_sizes": (24,), "activation": "tanh"},
    "mlp_logistic": {"hidden_layer_sizes": (24, 18), "activation": "logistic"},
    "mlp_binary": {"hidden_layer_sizes": (24, 18)},
    "mlp_labels": {"hidden_layer_sizes": (24, 18)},
    "mlp_regressor": {"hidden_layer_sizes": (24, 18)},
    "mlp_regressor_scaled": {"hidden_layer_sizes": (24, 18)},
}


def members() -> list[str]:
    """Names, without the family."""
    return list(_OPTIONS)


def proto(name: str) -> onnx.ModelProto:
    """Fitted to random targets for a few epochs: scikit-learn has no weights before."""
    from skl2onnx import to_onnx
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed(f"sklearn/{name}"))
    x = rng.standard_normal((200, _FEATURES)).astype(np.float32)
    options = _OPTIONS[name] | {"max_iter": 5, "random_state": seed(f"sklearn/{name}") % 2**31}
    if "regressor" in name:
        model, target = MLPRegressor(**options), x @ rng.standard_normal((_FEATURES, _TARGETS))
    else:
        model, target = MLPClassifier(**options), rng.integers(0, 2 if name == "mlp_binary" else _CLASSES, 200)
    whole = make_pipeline(StandardScaler(), model) if name.endswith("_scaled") else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole.fit(x, target)
    # A ZipMap, which gives dictionaries, is skl2onnx's default; nearly everybody switches it off.
    settings = {} if "regressor" in name or name == "mlp_labels" else {id(model): {"zipmap": False}}
    return to_onnx(whole, x[:1], target_opset=17, options=settings)
