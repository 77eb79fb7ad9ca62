"""A corpus of exported models with random weights: what pysurgeon is tried on before anybody else's models.

    names("torchvision")                    torchvision/alexnet, torchvision/resnet18@dynamo, ...
    export("timm/convnext_atto", folder)    folder/timm__convnext_atto.onnx
    build("recurrent/lstm")                 the same as a ModelProto

A name is `family/model` or `family/model@variant`; see `exporting.py` for the variants. Weights depend on the name alone, without the
variant. The libraries that the models come from are needed here and nowhere else: `make corpus-install`.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import onnx

# In the order in which they are exported.
_FAMILIES = {
    "recurrent": "recurrent",
    "others": "others",
    "open": "open_sizes",
    "sklearn": "from_sklearn",
    "onnx": "from_onnx",
    "transformers": "from_transformers",
    "timm": "from_timm",
    "torchvision": "from_torchvision",
}


@dataclass
class Exported:
    """What became of one model.

    Attributes:
        path: None if it was left out, for its size.
        static: Why the batch is fixed; empty if it is dynamic, as it should be.
        warnings: What is wrong with the file all the same.
    """

    path: Path | None
    parameters: int
    static: str = ""
    warnings: list[str] = field(default_factory=list)


def families() -> list[str]:
    """The families, in the order of export."""
    return list(_FAMILIES)


def names(family: str | None = None) -> list[str]:
    """All members, or those of one family; the largest are last."""
    chosen = [family] if family else families()
    return [f"{family}/{member}" for family in chosen for member in _module(family).members()]


def build(name: str) -> onnx.ModelProto:
    """The model as a proto, without checks.

    Raises:
        google.protobuf.message.EncodeError: It is larger than 2 GB; use `export`.
    """
    with tempfile.TemporaryDirectory() as folder:
        return onnx.load(export(name, folder))


def export(name: str, folder: str | Path) -> Path:
    """Write `folder/<family>__<model>.onnx` (external data beside it where it exceeds 2 GB) and give its path."""
    path = export_checked(name, folder).path
    assert path is not None
    return path


def file_name(name: str) -> str:
    """The file of a member: its name with what a file system does not like replaced."""
    return name.replace("/", "__") + ".onnx"


def export_checked(name: str, folder: str | Path, max_parameters: int | None = None) -> Exported:
    """As `export`, and say what is wrong with the result."""
    family, _, member = name.partition("/")
    module, target = _module(family), Path(folder) / file_name(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    # What is interrupted must not be taken for done, so the file gets its place at the end.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as partial:
        path = Path(partial) / target.name
        if hasattr(module, "recipe"):
            from .building import export_recipe

            outcome = export_recipe(module.recipe, family, member, path, max_parameters)
        else:
            from . import checking

            proto = module.proto(member)
            onnx.save(proto, path)
            outcome = Exported(path, checking.parameters(proto), warnings=checking.warnings_of(path, None, False))
        if outcome.path is None or (max_parameters is not None and outcome.parameters > max_parameters):
            return Exported(None, outcome.parameters)
        for file in sorted(Path(partial).iterdir(), reverse=True):  # data before the model that refers to it
            shutil.move(file, target.parent / file.name)
    outcome.path = target
    return outcome


def _module(family: str) -> ModuleType:
    if family not in _FAMILIES:
        message = f"there is no family {family!r}; there are {', '.join(_FAMILIES)}"
        raise KeyError(message)
    return importlib.import_module(f"{__name__}.{_FAMILIES[family]}")
