"""CSV and CoNLL: what they say, what they cannot say, and what is wrong in them."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import DatasetValidationError, UserErrorException
from runtime.labels import conll
from runtime.labels.converting import Target, convert
from runtime.labels.reading import Format, Source
from runtime.labels.values import BadItem, Class, Entity, Item, Task
from tests.runtime.labels.labelled import bad, boxed, converted, found, items, write_lines

CSV, CONLL, JSONL = Format.CSV, Format.CONLL, Format.JSON_LINES
MULTI = Task.TEXT_MULTI_LABEL_CLASSIFICATION

_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1, max_size=6)


class TestCsv:
    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.tuples(_names, st.lists(_names | st.just('["a"]'), unique=True, max_size=3)),
            unique_by=lambda each: each[0],
        )
    )
    def test_several_classes_come_back_whatever_their_characters(
        self, tmp_path: Path, rows: list[tuple[str, list[str]]]
    ) -> None:
        path = write_lines(tmp_path / "in.jsonl", [{"image_url": name, "label": names} for name, names in rows])
        for old in tmp_path.glob("out*"):
            old.unlink()
        task = Task.IMAGE_MULTI_LABEL_CLASSIFICATION
        written = converted(path, JSONL, tmp_path / "out.csv", CSV, task)
        assert [(each.file, [label.name for label in each.labels]) for each in items(written, CSV, task)] == rows

    def test_one_class_is_a_column_and_columns_go_by_many_names(self, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        path.write_text('﻿Label,ID,Filename\n"cat, black",1,a.jpg\n,2,b.jpg\n\n', "utf-8")
        assert items(path, CSV) == [Item("a.jpg", labels=(Class("cat, black"),)), Item("b.jpg")]
        written = converted(path, CSV, tmp_path / "out.csv", CSV)
        assert written.read_text() == 'image_url,label\na.jpg,"cat, black"\nb.jpg,\n'

    def test_lists_in_a_cell_are_several_classes(self, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        path.write_text('text,labels\nx,"[\'a\', \'b\']"\ny,"[""c""]"\nz,[d\nw,[]\n')
        told = [[label.name for label in each.labels] for each in items(path, CSV, MULTI)]
        assert told == [["a", "b"], ["c"], ["[d"], []]
        assert items(path, CSV)[0].labels == (Class("['a', 'b']"),)  # one class, which is called so

    def test_an_image_with_two_rows_has_two_classes_only_if_that_was_said(self, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        path.write_text("file,label\na.jpg,x\na.jpg,y\n")
        assert isinstance(found(path, CSV)[1], BadItem)
        assert items(path, CSV, Task.IMAGE_MULTI_LABEL_CLASSIFICATION) == [
            Item("a.jpg", labels=(Class("x"), Class("y")))
        ]

    @pytest.mark.parametrize(
        ("text", "told"), [("file,label\n\nx.jpg\n", "1 cells"), ("file,label\n,x\n", "cell is empty")]
    )
    def test_a_bad_row_is_told(self, tmp_path: Path, text: str, told: str) -> None:
        (tmp_path / "in.csv").write_text(text)
        assert told in bad(tmp_path / "in.csv", CSV)

    def test_a_bad_row_is_named_by_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "in.csv").write_text('text,label\n"two\nlines",x\nshort\n')
        with pytest.raises(DatasetValidationError, match=r"in\.csv: line 4: it has 1 cells"):
            convert(Source(tmp_path / "in.csv", CSV), Target(tmp_path / "out.jsonl", JSONL))

    @pytest.mark.parametrize("text", ["", "a,b\n", "file,size\n", 'file,label\nx,"open\n', "file,label\nx,\udcff\n"])
    def test_a_file_that_is_none_is_an_error(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "in.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(DatasetValidationError, match=r"in\.csv: "):
            found(tmp_path / "in.csv", CSV, Task.IMAGE_CLASSIFICATION)

    def test_boxes_are_nothing_for_csv(self, tmp_path: Path) -> None:
        with pytest.raises(UserErrorException, match="csv has no labels of the task ObjectDetection"):
            convert(Source(write_lines(tmp_path / "a", [boxed()]), JSONL), Target(tmp_path / "b", CSV))


class TestConll:
    @pytest.mark.parametrize(
        "tags",
        [
            ["B-PER", "I-PER", "O", "B-LOC", "B-LOC"],
            ["B-PER", "L-PER", "O", "U-LOC", "U-LOC"],
            ["B-PER", "E-PER", "O", "S-LOC", "S-LOC"],
            ["I-PER", "I-PER", "O", "I-LOC", "B-LOC"],
        ],
    )
    def test_every_scheme_of_tags_says_the_same(self, tmp_path: Path, tags: list[str]) -> None:
        tokens = ["Ada", "Byron", "left", "London", "Paris"]
        rows = "".join(f"{token} -X- _ {tag}\n" for token, tag in zip(tokens, tags, strict=True))
        (tmp_path / "in.conll").write_text(f"-DOCSTART- -X- O O\n\n{rows}\n\nAlone\tO\n")
        first, second = items(tmp_path / "in.conll", CONLL)
        assert first.text == "Ada Byron left London Paris"
        assert first.labels == (Entity("PER", 0, 9), Entity("LOC", 15, 21), Entity("LOC", 22, 27))
        assert second == Item(text="Alone")

    @settings(max_examples=60, deadline=None)
    @given(st.text("aé1 .,-'\n", min_size=1, max_size=30), st.data())
    def test_entities_are_not_moved(self, text: str, data: st.DataObject) -> None:
        ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
        spans = [(one, other) for one, other in zip(ends[::2], ends[1::2], strict=False) if text[one:other].strip()]
        item = Item(text=text, labels=tuple(Entity(f"C{at}", *span) for at, span in enumerate(spans)))
        if not text.strip():
            with pytest.raises(BadItem):
                conll.tagged(item)
            return
        rows = conll.tagged(item)
        assert "".join(token for token, _ in rows) == "".join(text.split())
        for at, (start, end) in enumerate(spans):
            inside = [token for token, tag in rows if tag in {f"B-C{at}", f"I-C{at}"}]
            assert "".join(inside) == "".join(text[start:end].split())

    def test_there_and_back_keeps_the_entities(self, tmp_path: Path) -> None:
        row = {"text": "Dr. Ada-Byron", "label": [{"label": "PER", "start": 4, "end": 13}]}
        path = write_lines(tmp_path / "in.jsonl", [row, {"text": "x"}])
        written = converted(path, JSONL, tmp_path / "out.conll", CONLL)
        assert written.read_text() == "Dr O\n. O\nAda B-PER\n- I-PER\nByron I-PER\n\nx O\n\n"
        first, _ = items(written, CONLL)
        assert [first.text[label.start : label.end] for label in first.labels if isinstance(label, Entity)] == [
            "Ada - Byron"
        ]

    @pytest.mark.parametrize(
        ("labels", "told"),
        [
            ([Entity("A", 0, 2), Entity("B", 1, 3)], "overlap"),
            ([Entity("A B", 0, 1)], "a space"),
            ([Entity("A", 3, 4)], "spaces only"),
        ],
    )
    def test_what_conll_cannot_say_is_told(self, labels: list[Entity], told: str) -> None:
        with pytest.raises(BadItem, match=told):
            conll.tagged(Item(text="abc d", labels=tuple(labels)))

    @pytest.mark.parametrize("row", [b"alone", b"x Q-PER", b"x B-", b"\xff O", b"x B"])
    def test_a_bad_line_makes_a_bad_text(self, tmp_path: Path, row: bytes) -> None:
        (tmp_path / "in.conll").write_bytes(b"a O\n" + row + b"\n\nb O\n")
        first, second = found(tmp_path / "in.conll", CONLL)
        assert isinstance(first, BadItem)
        assert "line 2" in str(first)
        assert second == Item(text="b")
