from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import threading
from dataclasses import replace

import platformdirs
import pytest

from pysurgeon.data import load
from pysurgeon.data.locate import fetch, locate
from pysurgeon.data.published import PUBLISHED, RemoteFile
from pysurgeon.errors import DataError

from .formats import split, write_idx, write_svhn

TRAIN, TEST = split(30), split(10, seed=1)


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """A publisher: serves the two files of SVHN."""
    root = tmp_path / "served"
    write_svhn(root, TRAIN, TEST)
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(SilentHandler, directory=str(root))
    ) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield root, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def published_at(root, url):
    files = tuple(
        RemoteFile(f"{url}/{path.name}", hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
        for path in sorted(root.iterdir())
    )
    return replace(PUBLISHED["svhn"], files=files)


def unreachable(published):
    """The set, with addresses at a port of this machine on which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return replace(
        published, files=tuple(RemoteFile(f"http://127.0.0.1:{port}/{f.name}", f.md5) for f in published.files)
    )


@pytest.mark.parametrize("below", ["svhn", "."])
def test_named_folder_comes_first(tmp_path, monkeypatch, below):
    write_svhn(tmp_path / "argument" / below, TRAIN, TEST)
    write_svhn(tmp_path / "variable" / below, TEST, TRAIN)
    monkeypatch.setenv("PYSURGEON_DATA", str(tmp_path / "variable"))
    svhn = PUBLISHED["svhn"]
    assert locate(svhn, tmp_path / "argument").resolve() == (tmp_path / "argument" / below).resolve()
    assert locate(svhn, None).resolve() == (tmp_path / "variable" / below).resolve()


def test_cache_is_used_without_a_named_folder():
    cache = platformdirs.user_cache_path("pysurgeon")
    write_svhn(cache / "svhn", TRAIN, TEST)
    assert locate(PUBLISHED["svhn"], None) == cache / "svhn"


@pytest.mark.parametrize("below", ["fashion-mnist", "FashionMNIST/raw"])
def test_sets_with_the_same_file_names_are_told_apart_by_their_folders(tmp_path, below):
    grey = split(5, channels=1, size=28)
    write_idx(tmp_path / below, grey, grey, compress=True)
    assert locate(PUBLISHED["fashion-mnist"], tmp_path) == tmp_path / below
    with pytest.raises(DataError, match="mnist is not in"):
        locate(unreachable(PUBLISHED["mnist"]), tmp_path)


def test_folder_of_the_set_itself_may_be_named(tmp_path):
    grey = split(5, channels=1, size=28)
    write_idx(tmp_path / "mnist", grey, grey, compress=True)
    assert locate(PUBLISHED["mnist"], tmp_path / "mnist") == tmp_path / "mnist"


def test_folder_that_does_not_exist_is_an_error_and_not_a_reason_to_fetch(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="absent does not exist"):
        locate(PUBLISHED["svhn"], tmp_path / "absent")
    monkeypatch.setenv("PYSURGEON_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="gone does not exist"):
        locate(PUBLISHED["svhn"], None)


def test_missing_set_is_fetched_into_the_cache_and_never_into_the_users_folder(tmp_path, server):
    users, cache = tmp_path / "users", tmp_path / "cache"
    users.mkdir()
    found = locate(published_at(*server), users, cache)
    assert found == cache / "svhn"
    assert (found / "train_32x32.mat").read_bytes() == (server[0] / "train_32x32.mat").read_bytes()
    assert list(users.iterdir()) == []
    assert locate(unreachable(published_at(*server)), users, cache) == found


def test_fetch_resumes_with_the_files_that_are_missing(tmp_path, server):
    published = published_at(*server)
    fetch(published, tmp_path / "svhn")
    (tmp_path / "svhn" / "test_32x32.mat").unlink()
    assert locate(published, None, tmp_path) == tmp_path / "svhn"
    assert (tmp_path / "svhn" / "test_32x32.mat").is_file()


def test_wrong_checksum_is_refused_and_nothing_is_kept(tmp_path, server):
    published = published_at(*server)
    wrong = replace(published, files=tuple(replace(file, md5="0" * 32) for file in published.files))
    with pytest.raises(DataError, match="hash"):
        fetch(wrong, tmp_path / "svhn")
    assert list((tmp_path / "svhn").iterdir()) == []


def test_missing_page_is_an_error(tmp_path, server):
    published = published_at(*server)
    (server[0] / "train_32x32.mat").unlink()
    with pytest.raises(DataError, match="404"):
        fetch(published, tmp_path / "svhn")


def test_without_a_network_the_message_says_what_to_put_where(tmp_path, monkeypatch):
    svhn = unreachable(PUBLISHED["svhn"])
    monkeypatch.setitem(PUBLISHED, "svhn", svhn)
    with pytest.raises(DataError) as caught:
        load("svhn", data_dir=tmp_path)
    message = str(caught.value)
    source = svhn.files[0].url.rpartition("/")[0]
    assert f"svhn is not in {tmp_path} and could not be fetched" in message
    assert f"Put train_32x32.mat, test_32x32.mat from {source}/ into {tmp_path / 'svhn'}" in message
    assert "$PYSURGEON_DATA" in message


def test_incomplete_set_of_the_users_is_reported_and_not_fetched_elsewhere(tmp_path):
    write_svhn(tmp_path, TRAIN, TEST)
    (tmp_path / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match=r"test_32x32\.mat is missing"):
        load("svhn", data_dir=tmp_path)


def test_table_of_published_sets_is_well_formed():
    for name, published in PUBLISHED.items():
        assert published.name == name
        for file in published.files:
            assert len(file.md5) == 32
            assert int(file.md5, 16) >= 0
            assert file.name in published.markers


def test_a_server_that_cannot_be_reached_is_told_in_few_words(tmp_path, monkeypatch):
    import socket

    import pooch

    def offline(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(pooch.get_logger(), "disabled", True)
    with pytest.raises(DataError) as caught:
        locate(PUBLISHED["cifar10"], tmp_path, cache=tmp_path / "cache")
    message = str(caught.value)
    assert "cifar-10-python.tar.gz: Name or service not known. Put cifar-10-python.tar.gz from" in message
    for word in ("urllib3", "Error", "object at"):
        assert word not in message
