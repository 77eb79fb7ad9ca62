"""Models in files: one `.onnx` file, and a data file beside it where the weights are too large or were outside before."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import ModelError, OutputExistsError, UsageError
from pysurgeon.graph import external_data
from pysurgeon.model.fidelity import verify_loaded
from pysurgeon.model.model import Model
from pysurgeon.model.reading import first_line, read


def load(path: str | os.PathLike[str], *, fix: Mapping[str, Any] | None = None) -> Model:
    """Load and normalize an ONNX file.

    Weights in data files are mapped and not read: they take no memory before they are used, and what they take then can
    be given back by the system. The data files may be deleted or replaced afterwards; nobody may write into them.

    Args:
        path: Of the file.
        fix: By the names of inputs, what they are fed for good: a number, or an array. They are constants then, and what hangs on them, as
            the branch of an If, is written out.

    Raises:
        UsageError: It is no path, or there is no such input.
        ModelError: The file or one of its data files is missing, is not ONNX, is truncated or is not valid.
    """
    import onnx
    from google.protobuf.message import DecodeError

    given: object = path
    if not isinstance(given, str | os.PathLike):
        message = (
            f"a model of type {type(given).__name__} cannot be loaded; give the path of an .onnx file (for an onnx.ModelProto "
            "there is pysurgeon.graph.from_proto)"
        )
        raise UsageError(message)
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        message = f"{path} {what}; give the path of an .onnx file"
        raise ModelError(message)
    try:
        proto = onnx.load_model(str(path), format="protobuf", load_external_data=False)
    except (DecodeError, ValueError) as error:
        message = f"{path} is not an ONNX file or is truncated ({first_line(error)}); export it again"
        raise ModelError(message) from error
    except OSError as error:
        message = f"{path} cannot be read ({first_line(error)})"
        raise ModelError(message) from error
    outside = external_data.external_tensors(proto)
    if not outside:
        return read(proto, str(path), fix=fix)
    try:
        files = external_data.DataFiles(path.parent)
        for tensor in outside:
            files.check(tensor)
    except (OSError, ValueError, TypeError, ir.serde.SerdeError) as error:
        message = f"{path}: the file of its external data is missing or does not fit ({first_line(error)})"
        raise ModelError(message) from error
    return read(proto, str(path), path=path, fix=fix)


def save(model: Model, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a model to an `.onnx` file, all at once: either the whole file is there afterwards or nothing is.

    A model of more than 2 GB, or one that was loaded with its weights in a data file, gets a data file: `NAME.onnx.data`
    beside `NAME.onnx`, written tensor by tensor. Where that name is taken (and `force` given), the data file gets another
    one, and the old one goes when the new `.onnx` file is in place.

    Raises:
        OutputExistsError: The file or a data file of its name exists and `force` is not given.
        ModelError: It cannot be written there.
        VerificationError: Nothing was done to the model, and it does not compute what its file computes.
    """
    path = Path(path)
    ensure_free([path], force=force)
    if model.source is not None:
        verify_loaded(model)
    data: Path | None = None
    pending: list[Path] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        too_large = external_data.tensor_bytes(model.ir) > external_data.LARGEST_MESSAGE
        if too_large or (model.external and external_data.has_large(model.ir)):
            data, content = _write_data(model, path, pending)
        else:
            content = model.to_bytes()
        partial = _partial(path, pending)
        with partial.open("xb") as file:
            file.write(content)
            _sync(file)
        partial.replace(path)
        pending.clear()
    except OSError as error:
        # Not the whole error: it speaks of the partial file, which nobody asked for.
        message = f"{path} cannot be written ({error.strerror or first_line(error)}); choose another place"
        raise ModelError(message) from error
    finally:
        for unfinished in pending:
            with contextlib.suppress(OSError):
                unfinished.unlink()
    _sync_folder(path.parent)
    _remove_old_data(path, keep=data)
    return path


def written(path: Path) -> str:
    """A saved model for a message: its file, and the data file that has to go where it goes."""
    import onnx

    outside = external_data.external_tensors(onnx.load_model(str(path), format="protobuf", load_external_data=False))
    locations = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    return " and ".join([str(path), *(str(path.with_name(name)) for name in sorted(locations))])


def ensure_free(paths: Sequence[Path], *, force: bool) -> None:
    """Refuse early, before any work, what would fail after it: to overwrite what exists, or to write where that is not possible.

    Args:
        paths: Of models; the data files that may come beside them count, too.
        force: Whether files may be replaced.

    Raises:
        OutputExistsError: One of the paths exists and `force` is not given.
        ModelError: One of them is a folder, or nothing can be written there.
    """
    for path in paths:
        if path.is_dir():
            message = f"{path} is a folder; give the name of a file"
            raise ModelError(message)
        for taken in (path, _data_name(path)):
            if taken.exists() and not force:
                message = f"{taken} exists; choose another name or say --force"
                raise OutputExistsError(message)
        there = next(folder for folder in path.absolute().parents if folder.exists())
        try:
            # A file without a name: nobody sees it, and it goes with this process.
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            message = f"{path} cannot be written ({error.strerror or first_line(error)}); choose another place"
            raise ModelError(message) from error


def _write_data(model: Model, path: Path, pending: list[Path]) -> tuple[Path, bytes]:
    """Write the data file of a model, tensor by tensor.

    It never gets the name of a file that exists. So whenever this stops, the `.onnx` file that is there leads to the data
    file that was written for it; and a data file that the model itself is mapped from is not written into.

    Args:
        model: The model.
        path: Of its `.onnx` file.
        pending: To this are added the files that must go if the `.onnx` file does not come.

    Returns:
        The data file, and the contents of the `.onnx` file that leads to it.
    """
    partial = _partial(_data_name(path), pending)
    offsets: dict[int, int] = {}
    with partial.open("xb") as file:

        def write(_: str, tensor: ir.TensorProtocol) -> None:
            if id(tensor) not in offsets:  # tied weights are written once
                end = file.tell()
                offsets[id(tensor)] = file.seek(-(-end // external_data.ALIGNMENT) * external_data.ALIGNMENT)
                _write_array(file, tensor)

        external_data.referring(model.ir, write)
        _sync(file)
    final = _reserve(path, pending)
    partial.replace(final)
    # The name must be on the disk before an .onnx file that refers to it is.
    _sync_folder(path.parent)

    def refer(name: str, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        shape = ir.Shape(tensor.shape.numpy())
        return ir.ExternalTensor(
            final.name,
            offsets[id(tensor)],
            tensor.nbytes,
            tensor.dtype,
            shape=shape,
            name=name,
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props),
        )

    return final, bytes(ir.to_proto(external_data.referring(model.ir, refer)).SerializeToString())


def _data_name(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _partial(path: Path, pending: list[Path]) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)  # of a process that was killed, or a link: nothing is written through it
    pending.append(partial)
    return partial


def _reserve(path: Path, pending: list[Path]) -> Path:
    """Take a name for the data file that nobody has, not even another process that saves to the same place."""
    name = _data_name(path)
    try:
        name.touch(exist_ok=False)
    except FileExistsError:
        name = path.with_name(f"{path.name}.{secrets.token_hex(4)}.data")
        name.touch(exist_ok=False)
    pending.append(name)
    return name


def _remove_old_data(path: Path, *, keep: Path | None) -> None:
    """Remove the data files that the `.onnx` file had before it was replaced, by the names that `save` gives.

    Data files of other names stay: several models may share them. Models that are mapped from what is removed keep it.
    """
    ours = re.compile(re.escape(path.name) + r"(\.[0-9a-f]{8})?\.data")
    for file in path.parent.iterdir():
        if ours.fullmatch(file.name) and file != keep and file.is_file():
            with contextlib.suppress(OSError):
                file.unlink()


def _write_array(file: IO[bytes], tensor: ir.TensorProtocol) -> None:
    array = np.ascontiguousarray(tensor.numpy())
    file.write(array.reshape(-1).view(np.uint8).data)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Let names reach the disk. Not every file system can say that they have."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
