"""Images in class folders, below ``train/``, ``val/`` and ``test/`` or directly below the folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pysurgeon.data.raw import RawData
from pysurgeon.data.split import Split
from pysurgeon.data.types import ImageSize, WantedSize
from pysurgeon.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL import Image

_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
# By content, whatever a file is called: others have decoders that run programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GREY_MODES = frozenset(("1", "L", "LA"))
_COLOUR_MODES = frozenset(("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV"))
_VALIDATION_NAMES = ("val", "validation")


def read_folder(folder: Path, size: ImageSize | WantedSize | None = None) -> RawData:
    """Read images whose folder names are their classes.

    Images become RGB, or grey if all of them are grey.

    Args:
        folder: Holds ``train/`` and, where there, ``val/`` or ``validation/`` and ``test/``, each with one folder for
            each class; or the class folders themselves.
        size: Height and width that every image of another size is resized to, or what tells them: bilinear, with
            antialiasing; the aspect ratio is not kept. Where it is open, all must have one size.

    Returns:
        The splits that the folder has.

    Raises:
        DataError: There are no class folders or no images, an image cannot be read, or sizes differ.
        UsageError: The size is not positive.
    """
    if isinstance(size, tuple) and min(size) < 1:
        message = f"the size is {size}; height and width must be at least 1"
        raise UsageError(message)
    if not folder.is_dir():
        message = f"{folder} is no folder; give a folder with one folder of images for each class"
        raise DataError(message)
    roots = _part_roots(folder)
    classes = _class_names(roots["train"])
    for root in roots.values():
        unknown = sorted(set(_class_names(root)) - set(classes))
        if unknown:
            message = f"{root} has the class {unknown[0]!r}, which {roots['train']} does not have"
            raise DataError(message)
    files = {part: _list_images(root, classes) for part, root in roots.items()}
    mode, agreed, notes = _agree([path for listed in files.values() for path, _ in listed], size)
    splits = {part: _read_split(listed, mode, agreed) for part, listed in files.items()}
    return RawData(splits["train"], splits.get("test"), splits.get("validation"), classes, notes)


def _part_roots(folder: Path) -> dict[str, Path]:
    if not (folder / "train").is_dir():
        for name in (*_VALIDATION_NAMES, "test"):
            if (folder / name).is_dir():
                message = f"{folder} has {name}/ but no train/; put the images to learn from below train/"
                raise DataError(message)
        return {"train": folder}
    roots = {"train": folder / "train"}
    validation = [folder / name for name in _VALIDATION_NAMES if (folder / name).is_dir()]
    if len(validation) > 1:
        message = f"{folder} has both {validation[0].name}/ and {validation[1].name}/; keep one of them"
        raise DataError(message)
    if validation:
        roots["validation"] = validation[0]
    if (folder / "test").is_dir():
        roots["test"] = folder / "test"
    return roots


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if not names:
        message = f"{root} has no folders; it needs one folder of images for each class"
        raise DataError(message)
    return names


def _list_images(root: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Images below a root with their labels, in an order that does not depend on the file system."""
    listed = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((root / name).rglob("*"))
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not listed:
        message = f"{root} has class folders but no images in them; expected {', '.join(sorted(_SUFFIXES))}"
        raise DataError(message)
    return listed


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except DataError:
        raise
    # Decoders answer damage with errors of many types.
    except Exception as error:
        message = f"{path} cannot be read as an image ({error}); remove or replace it"
        raise DataError(message) from error


def _agree(paths: Sequence[Path], size: ImageSize | WantedSize | None) -> tuple[str, ImageSize, tuple[str, ...]]:
    """Find the mode and the size that all images are to have, from their headers alone, and what is to be said of it."""
    headers = [_read_header(path) for path in paths]
    mode = "L" if all(image_mode in _GREY_MODES for image_mode, _ in headers) else "RGB"
    first, sizes = headers[0][1], {found for _, found in headers}
    wanted = size(len(mode), sizes) if callable(size) else size
    if wanted is None:
        for path, (_, other) in zip(paths, headers, strict=True):
            if other != first:
                message = (
                    f"{paths[0]} has {first[0]}x{first[1]} pixels (height x width) but {path} has "
                    f"{other[0]}x{other[1]}; resize the images to one size, or export the model with a fixed height and "
                    "width, which they are resized to, or in Python use pysurgeon.data.load with size=(height, width)"
                )
                raise DataError(message)
        return mode, first, ()
    if sizes == {wanted}:
        return mode, wanted, ()
    why = ", as the model wants" if callable(size) else ""
    return mode, wanted, (f"images resized to {wanted[0]}x{wanted[1]}{why}",)


def _read_header(path: Path) -> tuple[str, ImageSize]:
    with _open(path) as image:
        if image.mode not in _GREY_MODES | _COLOUR_MODES:
            message = f"{path} has pixels of the mode {image.mode!r}; convert it to 8 bits a channel"
            raise DataError(message)
        return image.mode, (image.height, image.width)


def _read_split(listed: Sequence[tuple[Path, int]], mode: str, size: ImageSize) -> Split:
    images: npt.NDArray[np.uint8] = np.empty((len(listed), len(mode), *size), np.uint8)
    for index, (path, _) in enumerate(listed):
        images[index] = _read_pixels(path, mode, size)
    return Split(images, np.array([label for _, label in listed], np.int64))


def _read_pixels(path: Path, mode: str, size: ImageSize) -> npt.NDArray[np.uint8]:
    """Decode one image to ``(C, H, W)``."""
    from PIL import Image

    with _open(path) as image:
        # A palette with transparency goes through RGBA; the direct way drops it with a warning.
        opaque = image.convert("RGBA") if image.mode in ("P", "PA") and "transparency" in image.info else image
        converted = opaque.convert(mode)
        if (converted.height, converted.width) != size:
            converted = converted.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.asarray(converted)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)
