"""Paths by their rules, and by the quick way that most of them take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.dataset import paths
from mountd.errors import HostilePathError


@given(st.text("a./\0\n\u00e9", max_size=12))
def test_the_quick_way_lets_through_what_the_rules_do(path: str) -> None:
    assert (paths._SOUND.fullmatch(path.encode()) is not None) is (paths._fault(path.encode()) is None)


@pytest.mark.parametrize(
    ("path", "is_sound"),
    [
        ("x" * 255, True),
        ("x" * 256, False),
        ("\u00e9" * 127, True),
        ("\u00e9" * 128, False),
        ("/".join(["x" * 255] * 15), True),
        ("/".join(["x" * 255] * 17), False),
        ("...", True),
        ("..\n", True),
        (".", False),
        ("a/..", False),
    ],
)
def test_limits(path: str, is_sound: bool) -> None:  # noqa: FBT001  # a parameter of a test
    if is_sound:
        assert paths.split(path) == path.encode().split(b"/")
    else:
        with pytest.raises(HostilePathError):
            paths.split(path)
