"""Every clause of docs/semantics.md names its test, and every test it names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_clauses_name_tests_that_exist() -> None:
    text = (ROOT / "docs/semantics.md").read_text()
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
