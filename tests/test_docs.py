"""Every clause of docs/semantics.md and docs/catalog.md names its test, and every test they name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["docs/semantics.md", "docs/catalog.md"])
def test_the_clauses_name_tests_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    promises, _, _ = text.partition("## What it does not promise yet")
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    named = re.findall(r"\[`(test_\w+)`\]", promises)
    assert [name for name in named if name not in defined] == []
    clauses = re.split(r"^- ", promises, flags=re.MULTILINE)[1:]
    assert [clause for clause in clauses if "[`test_" not in clause] == []
