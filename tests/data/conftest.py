from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_environment(monkeypatch, tmp_path_factory):
    """No test sees the data, the cache or the proxies of whoever runs it."""
    monkeypatch.delenv("PYSURGEON_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
