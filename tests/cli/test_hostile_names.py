"""Names from a file are text: they steer no terminal, make no links, turn no line round and end no command."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from rich.text import Text

from pysurgeon.cli import _app
from pysurgeon.cli._terminal import Terminal
from pysurgeon.errors import ModelError, SurgeonError
from pysurgeon.model import from_proto
from pysurgeon.report import inspect, layers_table, training_table, widths_table
from pysurgeon.shown import shown
from pysurgeon.training import NodeFact

NAMES = [
    "\x1b]0;TITLE\x07\x1b[2J",
    "[/]",
    "[link=http://evil]click[/link]",
    "\u202egnp.exe",
    ":smile:",
    "a\rb\nc",
    "\x9b31m",
    "\u200b\u2066x",
]
# What we write ourselves: colours.
OURS = re.compile(r"\x1b\[[0-9;]*m")


def hostile(name: str) -> onnx.ModelProto:
    """Everything that has a name has this one."""
    n = (lambda k: f"{name}{k}")  # fmt: skip
    nodes = [
        helper.make_node("MatMul", [n("x"), n("a")], [n("h")], name=n("first")),
        helper.make_node(n("op"), [n("h")], [n("r")], name=n("unknown"), domain=n("domain")),
        helper.make_node("MatMul", [n("r"), n("b")], [n("y")], name=n("last")),
    ]
    ports = [helper.make_tensor_value_info(n(k), TensorProto.FLOAT, [n("N"), s]) for k, s in (("x", 4), ("y", 3))]
    tensors = [numpy_helper.from_array(np.ones(s, np.float32), n(k)) for k, s in (("a", (4, 8)), ("b", (8, 3)))]
    graph = helper.make_graph(nodes, n("graph"), ports[:1], ports[1:], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(n("domain"), 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def printed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What a command prints on both streams of a terminal."""
    stream = io.StringIO()
    for name in ("out", "err"):
        console = Terminal(file=stream, force_terminal=True, width=100, legacy_windows=False)
        for module in ("_app", "_models"):
            monkeypatch.setattr(f"pysurgeon.cli.{module}.{name}", console)
    with pytest.raises(SystemExit):
        _app.main(list(arguments))
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["inspect", "doctor", "apply"])
def test_commands_print_names_as_text(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(hostile(name).SerializeToString())
    said = printed(monkeypatch, command, str(path), *(["widen:nothing=4"] if command == "apply" else []))
    ours = OURS.sub("", said).replace("\n", "")
    assert ours
    assert all(shown(c) == c for c in ours), [c for c in ours if shown(c) != c]
    assert "\x1b]8" not in said
    if name.isprintable():
        assert name in " ".join(ours.split()) or name in ours
    assert "Traceback" not in said + "".join(capsys.readouterr())


def test_tables_hold_names_as_text_on_any_console() -> None:
    """Whoever prints a table of ours on a console of his own gets no markup."""
    from rich.console import Console

    found = inspect(from_proto(hostile("[/]")))
    fact = NodeFact("[/]", "[/]", "trains", "[/] and [link=http://evil]more[/link]")
    stream = io.StringIO()
    console = Console(file=stream, width=100)
    for table in (widths_table(found), layers_table(found), training_table([fact])):
        console.print(table)
    assert stream.getvalue().count("[/]") >= 4
    assert "[link=http://evil]more[/link]" in stream.getvalue()


@given(st.text())
def test_a_terminal_shows_every_text(text: str) -> None:
    stream = io.StringIO()
    Terminal(file=stream, width=10_000, force_terminal=True).print(Text(text), soft_wrap=True)
    Terminal(file=stream, width=10_000, force_terminal=True, highlight=False).print(text, soft_wrap=True)
    assert all(c in "\n\t" or shown(c) == c for c in OURS.sub("", stream.getvalue()))


@given(st.text())
def test_errors_say_names_as_text(text: str) -> None:
    assert all(c in "\n\t" or shown(c) == c for c in str(ModelError(text)))
    assert shown(shown(text)) == shown(text)


def test_words_stay_what_they_are() -> None:
    words = "naïve Größe 图像 שלום 12,3\u00a0k →"
    assert shown(words) == words
    assert str(SurgeonError(f"{words}\n\tmore")) == f"{words}\n\tmore"
    assert json.loads(json.dumps(words)) == words
