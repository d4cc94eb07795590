import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path
    for path in (ROOT / "src" / "tag2mask").rglob("*.py")
    if "kernels" not in path.parts
)
MOST_LINES = 300
MOST_LINES_OF_A_FUNCTION = 40


def functions(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function):
    """Count the lines below the signature and the docstring."""
    body = function.body[ast.get_docstring(function) is not None :]
    return function.end_lineno - body[0].lineno + 1 if body else 0


def test_import_contracts_are_kept():
    command = "import sys; from importlinter.cli import lint_imports; sys.exit("
    done = subprocess.run(
        [sys.executable, "-c", f"{command}lint_imports(no_cache=True))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_files_and_functions_keep_their_budget(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    long = {
        each.name: lines
        for each in functions(source)
        if (lines := body_lines(each)) > MOST_LINES_OF_A_FUNCTION
    }
    assert long == {}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "src")))
def test_annotations_stay_values(path):
    """The check of shapes at run time needs annotations, not their text."""
    imported = {
        (node.module, name.name)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert ("__future__", "annotations") not in imported


def test_lines_of_a_function_are_those_below_its_docstring():
    lines = (
        "def f(",
        "    a,",
        "):",
        '    """One.',
        "",
        '    Two."""',
        "    b = a",
        "",
        "    return b",
    )
    source = "\n".join(lines)
    (function,) = functions(source)
    assert body_lines(function) == 3
