"""The log: one line a record, and no secret in any of them."""

import io
import logging
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.log import HIDDEN, close_log, open_log, redact

pytestmark = pytest.mark.warns

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


def fail() -> None:
    raise ValueError(f"AccountKey={KEY}")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = open_log("info", text)
    yield text
    close_log(handler)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("GET https://a.blob.core.windows.net/c/x?sv=2024&sig=abc%2Bdef%3D&se=2030 -> 403", "abc%2Bdef%3D"),
        ("token ?sig=s3cr3t", "s3cr3t"),
        ("url%3Fsv%3D1%26sig%3Ds3cr3t", "s3cr3t"),
        (f"DefaultEndpointsProtocol=http;AccountName=dev;AccountKey={KEY};BlobEndpoint=http://x", KEY),
        ("SharedAccessSignature=sv=2024&ss=b&sig=s3cr3t", "sv=2024&ss=b&sig=s3cr3t"),
        ("{'account_key': 's3cr3t'}", "s3cr3t"),
        ("AZURE_STORAGE_KEY=s3cr3t", "s3cr3t"),
        ("AZURE_CLIENT_SECRET=s3cr3t", "s3cr3t"),
        ("Authorization: SharedKey dev:s3cr3t", "dev:s3cr3t"),
        ("authorization='Bearer eyJ0.eyJz.abc'", "eyJ0.eyJz.abc"),
        ("postgresql://me:s3cr3t@db/catalog", "s3cr3t"),
        (f"a key alone: {KEY}", KEY),
    ],
)
def test_a_secret_is_replaced_and_the_rest_is_kept(text: str, secret: str) -> None:
    shown = redact(text)
    assert secret not in shown
    assert HIDDEN in shown
    assert shown.split(HIDDEN, maxsplit=1)[0] == text.split(secret, maxsplit=1)[0]


@pytest.mark.parametrize(
    "text",
    [
        "file:///data/digits/0/a.png: 120 bytes",
        "https://a.blob.core.windows.net/c/design=1&signed=2",
        "the key 'models/key=1/part.parquet' was listed",
        "5d41402abc4b2a76b9719d911017c592 is its md5",
        "a monkey=3 and a sigma=0.5",
        "http://127.0.0.1:10000/devstoreaccount1/c/",
    ],
)
def test_a_text_without_a_secret_is_left_alone(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=60), st.text("abcXYZ019+/", min_size=1, max_size=40), st.text(max_size=60))
def test_no_signature_survives_whatever_stands_around_it(before: str, signature: str, after: str) -> None:
    marked = "Q9" + signature + "9Q"
    assert marked not in redact(f"{before} https://h/p?se=1&sig={marked}&{after}")


def test_a_record_is_one_line(stream: io.StringIO) -> None:
    logging.getLogger("mountd.reading.fetcher").warning("%s: broken\nin two", "a.png")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert re.match(LINE, lines[0])
    assert lines[0].endswith("Z WARNING mountd.reading.fetcher  a.png: broken\\nin two")


def test_secrets_in_arguments_do_not_reach_the_stream(stream: io.StringIO) -> None:
    logging.getLogger("runtime.job").info("uploading to %s", f"https://h/c?sig={KEY}")
    assert KEY not in stream.getvalue()
    assert HIDDEN in stream.getvalue()


def test_a_failure_is_told_in_one_line_without_its_secret(stream: io.StringIO) -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger("mountd.daemon").exception("cannot go on")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith(f"  cannot go on (ValueError: AccountKey={HIDDEN})\n")


def test_debug_shows_the_traceback_indented_and_redacted() -> None:
    text = io.StringIO()
    handler = open_log("debug", text)
    try:
        fail()
    except ValueError:
        logging.getLogger("mountd.daemon").exception("cannot go on")
    finally:
        close_log(handler)
    _, *trace = text.getvalue().splitlines()
    assert trace[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in trace)
    assert KEY not in text.getvalue()


def test_a_record_with_wrong_arguments_still_gets_out(stream: io.StringIO) -> None:
    logging.getLogger("mountd.daemon").warning("%d files", "many")
    assert "%d files ('many',)" in stream.getvalue()


def test_levels_below_are_dropped_and_a_second_log_replaces_the_first(stream: io.StringIO) -> None:
    second = io.StringIO()
    handler = open_log("error", second)
    logging.getLogger("mountd.x").warning("not this")
    logging.getLogger("mountd.x").error("this")
    close_log(handler)
    assert stream.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_a_path_is_no_secret() -> None:
    for text in ("/etc/passwd: No such file", "cache folder /etc/passwd: File exists"):
        assert redact(text) == text
    assert redact("db_password: hunter2") == "db_password: ***"
