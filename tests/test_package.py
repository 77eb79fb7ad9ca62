"""The house itself: what importing costs, what is public, how the layers lie, and that nothing was left lying about."""

from __future__ import annotations

import inspect
import re
import shutil
import statistics
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest
from engines import needs_ort

import pysurgeon

ROOT = Path(__file__).parents[1]
LONGEST = 450
HEAVY = ("torch", "onnxruntime", "matplotlib", "scipy", "sklearn", "onnx", "rich", "jinja2")


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, cwd=ROOT
    )
    return done.stdout.strip()


def sources(*folders: str, suffixes: tuple[str, ...] = (".py", ".cpp", ".hpp", ".inl")) -> list[Path]:
    return sorted(p for f in folders for p in (ROOT / f).rglob("*") if p.suffix in suffixes)


# --- importing ----------------------------------------------------------------------------------------------------------


def test_importing_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import pysurgeon; print(time.perf_counter() - t)"
    # The aim is 0.3 s; the bound is for machines that do something else at the same time.
    assert statistics.median(float(python(code)) for _ in range(5)) < 1.0


def test_importing_does_not_import_what_is_heavy() -> None:
    loaded = python(f"import pysurgeon, sys; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert loaded == "[]"


def test_the_command_line_starts_without_what_is_heavy() -> None:
    heavy = tuple(m for m in HEAVY if m != "rich")
    loaded = python(f"import pysurgeon.cli, sys; print([m for m in {heavy!r} if m in sys.modules])")
    assert loaded == "[]"


@needs_ort
def test_training_does_not_import_torch(tmp_path: Path) -> None:
    code = f"""
import sys
import numpy as np, onnx
from pysurgeon import load
from pysurgeon.data import Dataset, Split
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings

onnx.save(onnx.parser.parse_model('''
    <ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 2] x) => (float[N, 3] y) <float[2, 3] w = {{1, 2, 3, 4, 5, 6}}> {{ y = MatMul(x, w) }}
'''), {str(tmp_path / "m.onnx")!r})
part = Split(np.eye(2, dtype=np.float32), np.arange(2))
data = Dataset.build("d", train=part, validation=part, test=part, classes=("a", "b", "c"))
settings = TrainSettings(Schedule(1e-3, 2))
LocalTrainer().train(load({str(tmp_path / "m.onnx")!r}), data, settings, state=State(), steps=2, evaluate_every=0)
print("onnxruntime" in sys.modules, "torch" in sys.modules)
"""
    assert python(code) == "True False"


def test_naming_the_trainer_torch_does_not_import_it() -> None:
    code = "import sys; from pysurgeon.training import LocalTrainer, ensure_device; LocalTrainer('torch'); "
    code += "ensure_device('cpu', 'torch'); print('torch' in sys.modules, 'onnxruntime' in sys.modules)"
    assert python(code) == "False False"


# --- what is public -----------------------------------------------------------------------------------------------------


def test_every_public_name_is_there_and_explained() -> None:
    assert pysurgeon.__all__ == sorted(pysurgeon.__all__)
    for name in pysurgeon.__all__:
        assert (inspect.getdoc(getattr(pysurgeon, name)) or "").strip(), name
        assert name in dir(pysurgeon)
    promised = "load save inspect doctor apply Widen recommend shrink train evolve compare resume"
    assert set(promised.split()) <= set(pysurgeon.__all__)


def test_every_operation_is_public() -> None:
    from pysurgeon.surgery import Operation

    ours = {
        operation.__name__ for operation in Operation.__subclasses__() if operation.__module__.startswith("pysurgeon.")
    }
    assert ours
    assert ours <= set(pysurgeon.__all__)


def test_type_checkers_see_the_same_names() -> None:
    text = (ROOT / "pysurgeon/__init__.py").read_text()
    block = text[text.index("if TYPE_CHECKING:") : text.index("__version__")]
    imported = set(re.findall(r"[A-Za-z]+", re.sub(r"from \S+ import|if TYPE_CHECKING", "", block)))
    assert imported == set(pysurgeon.__all__)


def test_names_that_do_not_exist_are_told() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        pysurgeon.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "package", ["data", "diagnosis", "evolution", "graph", "kernels", "report", "surgery", "training"]
)
def test_every_public_name_of_a_layer_is_there(package: str) -> None:
    import importlib

    module = importlib.import_module(f"pysurgeon.{package}")
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert hasattr(module, name), name


def test_every_error_has_an_exit_status_and_an_explanation() -> None:
    from pysurgeon import errors

    found = [
        e
        for e in vars(errors).values()
        if isinstance(e, type) and issubclass(e, Exception) and not issubclass(e, Warning)
    ]
    assert len(found) > 5
    for error in found:
        assert issubclass(error, errors.SurgeonError)
        assert error.exit_status in (1, 2, 3)
        assert error.__doc__


# --- the house ----------------------------------------------------------------------------------------------------------


def test_layers_are_kept() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([tool], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sources("pysurgeon", "csrc"), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"{path.name} has {lines} lines; split it"


def tracked() -> list[Path]:
    """Text files of the project, known to git or about to be."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [p for p in (ROOT / name for name in listed.stdout.splitlines()) if p.is_file() and p.name != "LICENSE"]


def test_nothing_is_left_to_do_and_no_machine_is_named() -> None:
    # Spelt so that this file does not find itself.
    words = [
        r"\bTO" + "DO\b",
        r"\bFIX" + "ME\b",
        r"\bX" + "XX\b",
        "NotImplemented" + "Error",
        "/wo" + "rk/",
        "/ro" + "ot/",
    ]
    words.append("/ho" + r"me/\w")
    pattern = re.compile("|".join(words))
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{n}" for n, line in enumerate(text.splitlines(), 1) if pattern.search(line)
        ]
    assert not found


@pytest.mark.parametrize("path", sources("pysurgeon", suffixes=(".py",)), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_package_prints_nothing_by_itself(path: Path) -> None:
    with path.open("rb") as file:
        names = [t.string for t in tokenize.tokenize(file.readline) if t.type == tokenize.NAME]
    # Consoles have a method of that name; what is not called on anything is the builtin.
    calls = re.findall(r"(?<![.\w])(?<!def )print\(", path.read_text())
    assert not calls or "print" not in names


def test_versions_agree() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert project is not None
    assert citation is not None
    assert project[1] == citation[1].strip("\"'") == pysurgeon.__version__


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^\s*(?:\$ )?make ([a-z-]+)", text, re.MULTILINE)) <= targets
    from typer.main import get_command

    from pysurgeon.cli import app

    commands = get_command(app)
    known = set(commands.list_commands(None))  # type: ignore[attr-defined, arg-type]
    assert set(re.findall(r"^\s*(?:\$ )?pysurgeon ([a-z]+)", text, re.MULTILINE)) <= known
    assert {
        "inspect",
        "doctor",
        "recommend",
        "apply",
        "shrink",
        "train",
        "evolve",
        "resume",
        "report",
        "compare",
        "runs",
        "clean",
    } == known


def test_every_setting_is_an_option() -> None:
    """The report prints the command that repeats a run: every setting has an option, and the command line knows it."""
    from typer.main import get_command

    from pysurgeon.cli import app
    from pysurgeon.settings import EvolveSettings
    from pysurgeon.settings_schema import option, settings_in

    evolve = get_command(app).commands["evolve"]  # type: ignore[attr-defined]
    # What stays and what is trained is for `train` alone.
    train = get_command(app).commands["train"]  # type: ignore[attr-defined]
    known = {option for parameter in (*evolve.params, *train.params) for option in parameter.opts}
    assert {option(name) for name in settings_in(EvolveSettings)} <= known


def test_users_get_types() -> None:
    """A type checker reads the annotations of an installed package only where it finds this file."""
    assert (ROOT / "pysurgeon/py.typed").is_file()
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()
