"""What `train` has learnt so far, beside its output: the same command goes on from there."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from pysurgeon.errors import OutputExistsError, RunError
from pysurgeon.evolution.journal import read_arrays, write_file
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.settings import EvolveSettings
from pysurgeon.training import State

_META = "pysurgeon"


class _Meta(msgspec.Struct):
    """What a checkpoint says beside its arrays: of what, and how far."""

    fingerprint: str
    step: Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class Checkpoint:
    """A file that is there while a training is unfinished.

    Attributes:
        path: The file.
        fingerprint: Of the model as it was given and of the settings; what does not have it is of another training.
    """

    path: Path
    fingerprint: str

    @staticmethod
    def beside(output: Path, model: Model, settings: EvolveSettings) -> Checkpoint:
        """The checkpoint of the training that gives an output."""
        digest = hashlib.sha256(json.dumps(settings.to_json(), sort_keys=True).encode())
        for name, array in model.tensors().items():
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
        return Checkpoint(output.with_name(f".{output.name}.training.npz"), digest.hexdigest())

    def load(self, model: Model, *, force: bool = False) -> tuple[Model, State]:
        """Where the training stands: at its beginning if there is no checkpoint.

        Args:
            model: As it was given.
            force: Whether a checkpoint of another training is passed over.

        Raises:
            OutputExistsError: It is of another model or of other settings.
            RunError: It is damaged.
        """
        if not self.path.exists():
            return model, State()
        try:
            arrays = read_arrays(self.path)
            meta = msgspec.json.decode(str(arrays.pop(_META)), type=_Meta)
        except (OSError, ValueError, KeyError) as error:
            message = f"{self.path} is damaged ({error}); delete it to begin the training again"
            raise RunError(message) from error
        if meta.fingerprint != self.fingerprint:
            if force:
                return model, State()
            message = (
                f"{self.path} is of an unfinished training of another model or with other settings; repeat that command to "
                "go on with it, or begin a new one with --force"
            )
            raise OutputExistsError(message)
        tensors: dict[str, Array] = {}
        moments: dict[str, dict[str, Array]] = {}
        for key, array in arrays.items():
            kind, _, name = key.partition(":")
            if kind == "tensor":
                tensors[name] = array
            else:
                moments.setdefault(kind, {})[name] = array
        return model.with_tensors(tensors), State(meta.step, moments)

    def save(self, model: Model, state: State) -> None:
        """Write down where the training stands, in one move."""
        arrays: dict[str, Array] = {
            f"tensor:{name}": model.tensor(name) for name in (*model.trainable(), *model.statistics())
        }
        arrays |= {f"{kind}:{name}": a for kind, named in state.moments.items() for name, a in named.items()}
        meta = msgspec.json.encode(_Meta(self.fingerprint, state.step)).decode()
        buffer = io.BytesIO()
        np.savez(buffer, **{_META: np.array(meta)}, **arrays)  # type: ignore[arg-type]
        write_file(self.path, buffer.getvalue())

    def remove(self) -> None:
        """Delete the file: the training has come to its end."""
        self.path.unlink(missing_ok=True)
        self.path.with_name(f".{self.path.name}.partial").unlink(missing_ok=True)
