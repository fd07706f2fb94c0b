import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.content import small_key
from benchmarks.processes import BenchmarkError
from benchmarks.server import KEY, Server, Shape, pretend, publish, serve
from mountd.stores.credentials import Credential
from mountd.stores.registry import open_lister, open_reader

FILES = {"a&b.bin": b"12345", "folder/one": b"1" * 1000, "folder/two": b"2" * 10, "folder.txt": b"x", "z": b""}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    for key, data in FILES.items():
        path = tmp_path / "content" / "box" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    publish(tmp_path, ["box"])
    with serve(tmp_path, Shape(latency_s=0.001)) as running:
        yield running


def fetch(url: str, **headers: str) -> bytes:
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        return bytes(answer.read())


def test_the_index_is_sorted_and_has_the_etags_of_nginx(tmp_path: Path) -> None:
    for key in ("b", "a/c", "a.b"):
        path = tmp_path / "content" / "box" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"123")
        os.utime(path, (0x6900_0000, 0x6900_0000))
    publish(tmp_path, ["box"])
    rows = [line.split("\t") for line in (tmp_path / "index/box.tsv").read_text().splitlines()]
    assert [row[:3] for row in rows] == [[key, "3", "69000000-3"] for key in ("a.b", "a/c", "b")]
    assert rows[0][3] == "Mon, 27 Oct 2025 23:28:00 GMT"


def test_without_nginx_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.server._MODULES", (tmp_path,))
    with pytest.raises(BenchmarkError, match="apt-get install -y nginx-light libnginx-mod-http-lua"), serve(tmp_path):
        pass


@pytest.mark.full
def test_files_that_can_only_be_listed_are_made_up_as_they_are_asked_for(tmp_path: Path) -> None:
    pretend(tmp_path, {"many": 12_345})
    with serve(tmp_path) as server:
        keys = [each.key for each in open_lister(server.url("many"), None).list()]
    assert sorted(keys) == [small_key(number) for number in range(12_345)]


@pytest.mark.full
def test_our_own_lister_and_reader_agree_with_it(server: Server) -> None:
    credential = Credential("key", KEY)
    url = server.url("box")
    listed = {each.key: each for each in open_lister(url, credential).list()}
    assert {key: each.size for key, each in listed.items()} == {key: len(data) for key, data in FILES.items()}
    reader = open_reader(url, credential)
    assert bytes(reader.read("folder/one", 10, 20, listed["folder/one"].etag)) == b"1" * 20
    assert bytes(reader.read("a&b.bin", 1, 3, listed["a&b.bin"].etag)) == b"234"


@pytest.mark.full
def test_pages_and_delimiters_as_the_sdk_asks_for_them(server: Server) -> None:
    from azure.storage.blob import ContainerClient

    with ContainerClient.from_container_url(server.url("box")) as client:
        pages = [[each.name for each in page] for page in client.list_blobs(results_per_page=2).by_page()]
        assert pages == [["a&b.bin", "folder.txt"], ["folder/one", "folder/two"], ["z"]]
        assert {each.name for each in client.walk_blobs()} == {"a&b.bin", "folder.txt", "folder/", "z"}
        assert [each.name for each in client.list_blobs(name_starts_with="folder/")] == ["folder/one", "folder/two"]
        blob = client.get_blob_client("folder/one")
        assert blob.get_blob_properties().etag == next(iter(client.list_blobs("folder/one"))).etag.join('""')
        assert blob.download_blob(offset=990, length=10).readall() == b"1" * 10  # by x-ms-range


@pytest.mark.full
def test_conditions_and_ranges_hold(server: Server) -> None:
    url = server.url("box") + "folder/one"
    assert fetch(url, Range="bytes=5-9") == b"1" * 5
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(url, **{"If-Match": '"other"'})
    assert refused.value.code == 412
    refused.value.close()
    with pytest.raises(urllib.error.HTTPError) as missing:
        fetch(server.url("box") + "none")
    assert (missing.value.code, missing.value.headers["x-ms-error-code"]) == (404, "BlobNotFound")
    missing.value.close()


@pytest.mark.full
def test_the_log_tells_what_came(server: Server) -> None:
    start = server.mark()
    fetch(server.url("box") + "folder/two")
    fetch(server.url("box") + "folder/one", Range="bytes=0-99")
    traffic = server.traffic(start, server.mark())
    assert (traffic.requests, traffic.sent_bytes) == (2, 110)
