"""Recurrent networks as one meets them: classifiers of sequences."""

from __future__ import annotations

import torch
from torch import nn

from .recipe import Input, Recipe

_CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
_FEATURES, _HIDDEN, _CLASSES, _VOCABULARY = 10, 24, 5, 100


class Classifier(nn.Module):
    """A recurrent layer and a linear layer on its last step, or on all steps."""

    def __init__(
        self,
        cell: type[nn.RNNBase],
        layers: int = 1,
        bidirectional: bool = False,
        batch_first: bool = True,
        embedding: bool = False,
        steps: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, _FEATURES) if embedding else nn.Identity()
        self.cell = cell(_FEATURES, _HIDDEN, layers, bidirectional=bidirectional, batch_first=batch_first)
        self.head = nn.Linear(_HIDDEN * (2 if bidirectional else 1), _CLASSES)
        self.batch_first, self.steps = batch_first, steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the last step, or of every step."""
        y, _ = self.cell(self.embedding(x))
        if self.steps:
            return self.head(y)
        return self.head(y[:, -1] if self.batch_first else y[-1])


_OPTIONS: dict[str, dict[str, object]] = {
    "": {},
    "_2layers": {"layers": 2},
    "_bidirectional": {"bidirectional": True},
    "_time_first": {"batch_first": False},
    "_2layers_bidirectional_steps": {"layers": 2, "bidirectional": True, "steps": True},
    "_embedding": {"embedding": True},
}


def members() -> list[str]:
    """Names, with the variants, without the family."""
    names = [cell + option for cell in _CELLS for option in _OPTIONS]
    # The new exporter writes GRU and RNN out, step by step, so a dynamic length is beyond it.
    return [*names, "lstm@dynamo", "lstm_2layers_bidirectional_steps@dynamo", "gru@dynamo", "rnn@dynamo"]


def recipe(name: str) -> Recipe:
    """One of the cells with one of the options."""
    cell, _, option = name.partition("_")
    options = _OPTIONS["_" + option if option else ""]
    module = Classifier(_CELLS[cell], **options)  # type: ignore[arg-type]
    shape = ("N", "T") if module.batch_first else ("T", "N")
    values = Input("input", shape, _VOCABULARY) if "embedding" in options else Input("input", (*shape, _FEATURES))
    axes = {0: "N", 1: "T"} if module.steps else {0: "N"}
    return Recipe(module, (values,), {"output": axes})
