"""CoNLL for entities: a token a line with its tag last, an empty line behind each text.

Read: tags as BIO, as IOB1 (an entity begins with I-, unless it follows one of its own class) or as BIOES; columns
between are left alone; `-DOCSTART-` lines are no tokens. The text is the tokens with a space between. Written: token and
BIO tag. Words and punctuation are tokens, cut at entities' ends too, so that no entity is moved; the spaces of a text
are not kept.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TextIO

from runtime.labels.json_lines import Found, lines
from runtime.labels.values import BadItem, Entity, Item

_TOKEN: Final = re.compile(r"\w+|[^\w\s]")
_BEGINNING: Final = frozenset("BSU")
_INSIDE: Final = frozenset("IEL")


def read(path: Path) -> Iterator[Found]:
    """Every text with its entities, or what is wrong with it, with the number of its first line."""
    with path.open("rb") as stream:
        for first, rows in _texts(stream, str(path)):
            try:
                yield f"line {first}", _item(rows)
            except BadItem as bad:
                yield f"line {first}", bad


def _texts(stream: object, name: str) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    rows: list[tuple[int, str]] = []
    for number, line in lines(stream, name):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if rows and number > rows[-1][0] + 1:
            yield rows[0][0], rows
            rows = []
        if not text.startswith("-DOCSTART-"):
            rows.append((number, text))
        elif rows:
            yield rows[0][0], rows
            rows = []
    if rows:
        yield rows[0][0], rows


def _item(rows: Sequence[tuple[int, str]]) -> Item:
    at, tokens, found = 0, [], list[Entity]()
    before = "O"
    for number, row in rows:
        token, tag = _split(number, row)
        kind, _, name = tag.partition("-")
        if tag != "O":
            goes_on = kind in _INSIDE and before.partition("-")[2] == name and before[0] not in "ESLU"
            if goes_on:
                found[-1] = Entity(name, found[-1].start, at + len(token))
            else:
                found.append(Entity(name, at, at + len(token)))
        before = tag
        tokens.append(token)
        at += len(token) + 1
    return Item(text=" ".join(tokens), labels=tuple(found))


def _split(number: int, row: str) -> tuple[str, str]:
    """The token and the tag of a line."""
    if "�" in row:
        raise BadItem(f"line {number} is no UTF-8, or holds a character that stands for what was none")
    columns = row.split("\t") if "\t" in row else row.split()
    tag = columns[-1].strip()
    known = tag == "O" or (tag[0:1] in _BEGINNING | _INSIDE and tag[1:2] == "-" and len(tag) > 2)
    if len(columns) < 2 or not columns[0] or not known:
        raise BadItem(f"line {number} is no token and tag (O, B-NAME, I-NAME): {row[:60]!r}")
    return columns[0], tag


class Writer:
    """Writes a CoNLL file."""

    def __init__(self, draft: Path) -> None:
        self._out: TextIO = draft.open("w", encoding="utf-8", newline="\n")

    def add(self, item: Item) -> None:
        """Write one text; raises BadItem if CoNLL cannot say it."""
        rows = tagged(item)
        self._out.write("".join(f"{token} {tag}\n" for token, tag in rows) + "\n")

    def close(self, *, whole: bool) -> None:  # noqa: ARG002 # as the other writers
        """End the file."""
        self._out.close()


def tagged(item: Item) -> list[tuple[str, str]]:
    """The tokens of a text with their tags."""
    entities = sorted((each for each in item.labels if isinstance(each, Entity)), key=lambda each: each.start)
    for one, other in itertools.pairwise(entities):
        if other.start < one.end:
            raise BadItem(f"'{one.name}' and '{other.name}' overlap, which CoNLL cannot say")
    rows: list[tuple[str, str]] = []
    at = 0
    for each in entities:
        if re.search(r"\s", each.name):
            raise BadItem(f"the class {each.name!r} has a space, which CoNLL cannot say")
        inside = _TOKEN.findall(item.text[each.start : each.end])
        if not inside:
            raise BadItem(f"'{each.name}' is of spaces only")
        rows += [(token, "O") for token in _TOKEN.findall(item.text[at : each.start])]
        rows += [(token, f"{'I' if number else 'B'}-{each.name}") for number, token in enumerate(inside)]
        at = each.end
    rows += [(token, "O") for token in _TOKEN.findall(item.text[at:])]
    if not rows:
        raise BadItem("the text has no token")
    return rows
