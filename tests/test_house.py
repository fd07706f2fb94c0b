"""The house's own rules: short files, short functions, a docstring on every module, and no name of anywhere else."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("mountd", "runtime", "tests", "examples", "benchmarks")
MODULES = sorted(path.relative_to(ROOT).as_posix() for room in ROOMS for path in (ROOT / room).rglob("*.py"))
FILE_LINES = 400
FUNCTION_LINES = 60
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_there_are_modules() -> None:
    assert {"mountd/errors.py", "runtime/__init__.py", "tests/test_house.py"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_short_and_says_what_it_is(module: str) -> None:
    text = (ROOT / module).read_text("utf-8")
    tree = ast.parse(text)
    lines = text.count("\n")
    assert lines <= FILE_LINES, f"{module} has {lines} lines; split it by what its parts do"
    # A test's module is told by its name and its tests.
    told = module.startswith("tests/") and "support/" not in module
    assert told or not text or ast.get_docstring(tree), f"{module} does not say what it is"
    long = {
        node.name: length
        for node in functions(tree)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    }
    assert not long, f"{module}: more than {FUNCTION_LINES} lines"


def test_the_ceilings_can_be_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountd").mkdir()
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    bad = {
        "long.py": '"""It is."""\n' + "x = 1\n" * FILE_LINES,
        "mute.py": "x = 1\n",
        "deep.py": '"""It is."""\ndef f():\n' + "    x = 1\n" * FUNCTION_LINES,
    }
    for name, text in bad.items():
        (tmp_path / "mountd" / name).write_text(text)
        with pytest.raises(AssertionError, match=name):
            test_a_module_is_short_and_says_what_it_is(f"mountd/{name}")


def test_the_licence_is_whole() -> None:
    import hashlib

    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_scripts_are_valid_shell_and_may_be_run() -> None:
    for script in (".ci/run", ".ci/system-packages"):
        assert (ROOT / script).stat().st_mode & 0o111 == 0o111, script
        subprocess.run(["bash", "-n", ROOT / script], check=True)


def test_make_lists_every_target_that_the_readme_may_name() -> None:
    told = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    listed = [line.split()[1] for line in told.splitlines()]
    assert listed == ["help", "setup", "lint", "test", "test-full", "test-notebooks", "soak", "demo", "bench", "clean"]
