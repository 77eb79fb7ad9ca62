"""The published sets: where their files lie, how they are read and where they come from.

The checksums are those that the publishers, or the libraries that have distributed the files for years, state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pysurgeon.data.formats.cifar import CIFAR10, CIFAR100, CifarVersion, read_cifar10, read_cifar100
from pysurgeon.data.formats.idx import IDX_FILES, read_fashion_mnist, read_mnist
from pysurgeon.data.formats.svhn import SVHN_FILES, SVHN_TEST_MD5, read_svhn
from pysurgeon.data.raw import RawData


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched.

    Attributes:
        url: Where from.
        md5: Its checksum.
    """

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The name of the file, without folders."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class PublishedSet:
    """A set by name.

    Attributes:
        name: What users call it.
        folders: Where its files may lie below a data folder, first choice first.
        markers: Files or folders of which any shows that the set is there.
        files: What is fetched if it is nowhere.
        read: Reads it from the folder that holds a marker.
    """

    name: str
    folders: tuple[str, ...]
    markers: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    read: Callable[[Path], RawData]


def _idx_set(
    name: str, torchvision: str, url: str, checksums: tuple[str, ...], read: Callable[[Path], RawData]
) -> PublishedSet:
    # Files of MNIST and Fashion-MNIST have the same names: a folder must say by its own name whose they are.
    return PublishedSet(
        name,
        (name, f"{torchvision}/raw"),
        tuple(file + suffix for file in IDX_FILES for suffix in ("", ".gz")),
        tuple(RemoteFile(f"{url}/{file}.gz", md5) for file, md5 in zip(IDX_FILES, checksums, strict=True)),
        read,
    )


def _cifar_set(
    name: str, versions: tuple[CifarVersion, ...], md5: str, read: Callable[[Path], RawData], inner: tuple[str, ...]
) -> PublishedSet:
    return PublishedSet(
        name,
        (name, "."),
        (*(marker for version in versions for marker in (version.folder, version.archive)), *inner),
        (RemoteFile(f"https://www.cs.toronto.edu/~kriz/{versions[0].archive}", md5),),
        read,
    )


PUBLISHED: dict[str, PublishedSet] = {
    published.name: published
    for published in (
        _idx_set(
            "mnist",
            "MNIST",
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            read_mnist,
        ),
        _idx_set(
            "fashion-mnist",
            "FashionMNIST",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            read_fashion_mnist,
        ),
        # The last argument: files that show the unpacked folder itself was given. The plain `train` and `test` of
        # CIFAR-100 do not count, they may be anything.
        _cifar_set(
            "cifar10", CIFAR10, "c58f30108f718f92721af3b95e74349a", read_cifar10, ("test_batch", "test_batch.bin")
        ),
        _cifar_set("cifar100", CIFAR100, "eb9058c3a382ffc7106e4002c42a8d85", read_cifar100, ("meta", "test.bin")),
        PublishedSet(
            "svhn",
            ("svhn", "."),
            SVHN_FILES,
            tuple(
                RemoteFile(f"http://ufldl.stanford.edu/housenumbers/{file}", md5)
                for file, md5 in zip(SVHN_FILES, ("e26dedcc434d2e4c54c9b2d4a06d8373", SVHN_TEST_MD5), strict=True)
            ),
            read_svhn,
        ),
    )
}
