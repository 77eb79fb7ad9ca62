"""The command line. Results go to stdout, everything else to stderr; `--json` prints one document and nothing else there."""

from pysurgeon.cli import _folders, _models, _runs, _shrink  # noqa: F401  (importing them registers the commands)
from pysurgeon.cli._app import app, main

__all__ = ["app", "main"]
