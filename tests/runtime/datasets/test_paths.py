"""The grammar of a dataset's paths, and where they show in the tree."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.datasets.paths import DatasetPath, Place, arrange, below_datastore, locate, parse, parse_all, parse_text
from runtime.errors import UserErrorException

BLOB = "https://account1.blob.core.windows.net/container/"


@dataclass(frozen=True)
class Named:
    name: str


@dataclass(frozen=True)
class Below:
    datastore: Named
    path_on_datastore: str | None


def test_every_form_of_v1_is_understood() -> None:
    data = Named("Data")
    assert parse(Below(data, "a/b")) == parse((data, "/a/b")) == parse((data, "./a/b")) == DatasetPath("data", "a/b")
    assert parse(Below(data, None)) == DatasetPath("data", "")
    assert parse_all([(data, "a"), (data, "b"), (data, "a")]) == (DatasetPath("data", "a"), DatasetPath("data", "b"))
    assert parse_all((data, "a")) == (DatasetPath("data", "a"),)
    assert parse_all(BLOB + "a") == (DatasetPath(url=BLOB + "a"),)


def test_a_local_path_becomes_a_file_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a [1]").mkdir()
    (tmp_path / "a [1]" / "f.png").touch()
    monkeypatch.chdir(tmp_path)
    quoted = f"file://{tmp_path}/a%20%5B1%5D"
    assert parse_text("a [1]").url == parse_text("x/../a [1]/").url == f"{quoted}/"  # it is there, so it is meant
    assert parse_text("a [1]/f.png").url == parse(Path("a [1]/f.png")).url == f"{quoted}/f.png"
    assert parse_text("a/**/*.png").url == f"file://{tmp_path}/a/**/*.png"
    assert parse_text("gone").url == f"file://{tmp_path}/gone"


@pytest.mark.parametrize("text", ["data/a?.png", "data/[ab].png", "data/{a,b}.png", BLOB + "[ab]/*", "file:///a/{b}"])
def test_wildcards_that_v1_took_literally_are_refused(text: str) -> None:
    with pytest.raises(UserErrorException, match=r"only '\*' \(within a name\) and '\*\*'"):
        parse_text(text)
    with pytest.raises(UserErrorException, match="has no meaning in a dataset's path"):
        below_datastore("data", "a?")


def test_a_sas_is_refused_with_the_remedy_and_not_repeated() -> None:
    with pytest.raises(UserErrorException, match="register a datastore with that SAS") as caught:
        parse_text(BLOB + "a/b.csv?sv=2024-01-01&sig=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://host.example/a/*.csv", "no listing"),
        ("https://host.example/a/", "no listing"),
        ("ftp://host.example/a", "no scheme that Moorage knows"),
        ("abfss://account1.dfs.core.windows.net/a", "names no file system"),
    ],
)
def test_a_url_that_nobody_can_freeze_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserErrorException, match=said):
        parse_text(text)


def test_bad_arguments_are_named() -> None:
    data = Named("data")
    with pytest.raises(UserErrorException, match="at least one"):
        parse_all([])
    with pytest.raises(UserErrorException, match="cannot be mixed"):
        parse_all([BLOB + "a", (data, "b")])
    with pytest.raises(UserErrorException, match="int is no path"):
        parse_all(3)  # type: ignore[arg-type] # the point
    with pytest.raises(UserErrorException, match=r"data/a/\.\./\.\.: '\.\.' leads out"):
        parse((data, "a/../.."))


@pytest.mark.parametrize(
    ("text", "root", "path"),
    [
        (BLOB + "a/b", BLOB, "a/b"),
        (BLOB + "a/b/", BLOB, "a/b/"),
        (BLOB, BLOB, ""),
        (BLOB + "a/*/c%20d.png", BLOB, "a/*/c d.png"),
        (BLOB + "**", BLOB, "**"),
        ("wasbs://container@account1.blob.core.windows.net/a/*.csv", BLOB, "a/*.csv"),
        ("http://127.0.0.1:10000/account1/container/a", "http://127.0.0.1:10000/account1/container/", "a"),
        ("https://host.example/a/f%20g.csv", "https://host.example/a/", "f g.csv"),
        ("file:///data/a%20b/", "file:///", "data/a b/"),
        ("file:///data/**/x.png", "file:///", "data/**/x.png"),
    ],
)
def test_a_url_is_located_in_its_store(text: str, root: str, path: str) -> None:
    assert locate(parse_text(text)) == Place(root, path)


def test_a_datastore_path_is_located_below_its_url() -> None:
    place = locate(below_datastore("data", "a b/*/c"), BLOB + "root/")
    assert (place.folder, place.pattern, place.base_url) == ("a b/", "*/c", BLOB + "root/a%20b/")


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["wd/2019/"], [""]),
        (["wd/**"], [""]),
        (["wd/2019/f.csv"], [""]),
        (["wd/2019/", "wd/2020/"], ["2019", "2020"]),
        (["wd/a.csv", "wd/b.csv"], ["", ""]),
        (["wd/a.csv", "wd/x/b.csv", "wd/x/y/*.csv"], ["", "x", "x/y"]),
        (["wd1/", "wd2/"], ["wd1", "wd2"]),
        (["", "a/"], ["", "a"]),
    ],
)
def test_the_longest_common_prefix_is_dropped(paths: list[str], shown: list[str]) -> None:
    assert arrange([Place(BLOB, path) for path in paths]) == shown


def test_places_of_several_stores_show_below_their_hosts() -> None:
    places = [
        Place("https://a.example/x/", "1.gz"),
        Place("https://b.example/", "y/2.gz"),
        Place("file:///", "tmp/3.gz"),
    ]
    assert arrange(places) == ["a.example/x", "b.example/y", "local/tmp"]
    same_host = [Place("https://a.example/x/", "1.gz"), Place("https://a.example/y/", "2.gz")]
    assert arrange(same_host) == ["x", "y"]


_segment = st.text(st.characters(exclude_characters="/*?[{\0", exclude_categories=["Cs"]), min_size=1, max_size=5)
_folders = st.lists(_segment.filter(lambda name: name not in {".", ".."}), max_size=4)


@given(st.lists(_folders, min_size=1, max_size=5))
def test_no_two_folders_fall_together_and_nothing_common_is_left(folders: list[list[str]]) -> None:
    places = [Place(BLOB, "".join(f"{name}/" for name in folder)) for folder in folders]
    shown = arrange(places)
    assert len(set(shown)) == len({place.path for place in places})
    first = {each.split("/")[0] for each in shown}
    assert len(first) > 1 or first == {""}
    for place, under in zip(places, shown, strict=True):
        assert place.folder.rstrip("/").endswith(under)


@given(_folders, _segment)
def test_a_local_file_of_any_name_is_found_again(folders: list[str], name: str) -> None:
    path = os.path.normpath("/" + "/".join([*folders, name]))
    if path == "/":
        return
    place = locate(parse_text(path))
    assert (place.root, "/" + place.path) == ("file:///", path.replace("//", "/"))
