import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mountd.errors import BadInputError, MountdError
from mountd.stores import registry
from mountd.stores.registry import Source, file_url, local_path, parse_source
from mountd.stores.source import as_blobs

AZURITE = "http://127.0.0.1:10000/devstoreaccount1"


@pytest.mark.parametrize(
    ("text", "store_url", "prefix", "account", "container"),
    [
        ("https://acct.blob.core.windows.net/cont", "https://acct.blob.core.windows.net/cont/", "", "acct", "cont"),
        (
            "https://ACCT.blob.core.windows.net:443/cont/a/b/",
            "https://acct.blob.core.windows.net/cont/",
            "a/b/",
            "acct",
            "cont",
        ),
        (
            "https://acct.blob.core.windows.net/cont/a%20b",
            "https://acct.blob.core.windows.net/cont/",
            "a b/",
            "acct",
            "cont",
        ),
        (
            "https://acct.z12.blob.storage.azure.net/c-1/",
            "https://acct.z12.blob.storage.azure.net/c-1/",
            "",
            "acct",
            "c-1",
        ),
        (
            "https://acct.blob.core.chinacloudapi.cn/$web/x/",
            "https://acct.blob.core.chinacloudapi.cn/$web/",
            "x/",
            "acct",
            "$web",
        ),
        (
            "wasbs://cont@acct.blob.core.windows.net/a/",
            "https://acct.blob.core.windows.net/cont/",
            "a/",
            "acct",
            "cont",
        ),
        ("wasb://cont@acct.blob.core.windows.net", "https://acct.blob.core.windows.net/cont/", "", "acct", "cont"),
        (f"{AZURITE}/cont/p/", f"{AZURITE}/cont/", "p/", "devstoreaccount1", "cont"),
        (
            "http://localhost:10000/devstoreaccount1/cont",
            "http://localhost:10000/devstoreaccount1/cont/",
            "",
            "devstoreaccount1",
            "cont",
        ),
        (
            "http://azurite:10000/devstoreaccount1/cont/",
            "http://azurite:10000/devstoreaccount1/cont/",
            "",
            "devstoreaccount1",
            "cont",
        ),
        ("https://[::1]:10000/acct/cont/", "https://[::1]:10000/acct/cont/", "", "acct", "cont"),
    ],
)
def test_blob_urls(text: str, store_url: str, prefix: str, account: str, container: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.store_url, source.prefix) == ("blob", store_url, prefix)
    assert (source.account, source.container) == (account, container)
    assert source.endpoint + f"/{container}/" == store_url
    assert source.open_ended is (not text.endswith("/") and bool(prefix))


LAKE = "abfss://lake@acct.dfs.core.windows.net/"


@pytest.mark.parametrize(
    ("text", "base_url", "endpoint", "account"),
    [
        (LAKE, LAKE, "https://acct.dfs.core.windows.net", "acct"),
        ("abfs://lake@ACCT.dfs.core.windows.net", LAKE, "https://acct.dfs.core.windows.net", "acct"),
        ("https://acct.dfs.core.windows.net:443/lake", LAKE, "https://acct.dfs.core.windows.net", "acct"),
        (
            "https://acct.dfs.core.windows.net/lake//a%20b/c",
            LAKE + "a%20b/c/",
            "https://acct.dfs.core.windows.net",
            "acct",
        ),
        (
            "abfss://lake@acct.z12.dfs.storage.azure.net/a/",
            "abfss://lake@acct.z12.dfs.storage.azure.net/a/",
            "https://acct.z12.dfs.storage.azure.net",
            "acct",
        ),
        (
            "abfs://lake@127.0.0.1:10000/acct/a/",
            "abfs://lake@127.0.0.1:10000/acct/a/",
            "http://127.0.0.1:10000/acct",
            "acct",
        ),
        ("abfss://lake@[::1]:443/acct/", "abfss://lake@[::1]/acct/", "https://[::1]/acct", "acct"),
        ("abfs://lake@emulator:80/acct", "abfs://lake@emulator:80/acct/", "http://emulator:80/acct", "acct"),
    ],
)
def test_data_lake_urls(text: str, base_url: str, endpoint: str, account: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.base_url, source.endpoint) == ("datalake", base_url, endpoint)
    assert (source.account, source.container) == (account, "lake")
    assert source.open_ended is (bool(source.prefix) and not text.endswith("/"))
    assert parse_source(source.base_url) == dataclasses.replace(source, open_ended=False)
    blobs = as_blobs(source)
    assert (blobs.kind, blobs.base_url) == ("blob", base_url)
    assert blobs.endpoint == endpoint.replace(".dfs.", ".blob.")


@pytest.mark.parametrize(
    ("text", "store_url", "file"),
    [
        ("https://host/dir/file.csv", "https://host/dir/", "file.csv"),
        ("https://HOST/file%20x.csv", "https://host/", "file x.csv"),
        ("https://host/dir/", "https://host/dir/", ""),
        ("https://host:8443/Some_Dir/x", "https://host:8443/Some_Dir/", "x"),
        ("http://127.0.0.1:8000/file", "http://127.0.0.1:8000/", "file"),
        ("http://localhost:8000/", "http://localhost:8000/", ""),
        ("http://127.0.0.1:8000/some_dir/file", "http://127.0.0.1:8000/some_dir/", "file"),
    ],
)
def test_web_urls(text: str, store_url: str, file: str) -> None:
    assert parse_source(text) == Source("https", store_url, file=file)


@pytest.mark.parametrize(
    ("text", "store_url"),
    [
        ("file:///data/digits", "file:///data/digits/"),
        ("file:///data//digits/../x/", "file:///data/x/"),
        ("file://localhost/data/", "file:///data/"),
        ("file:///", "file:///"),
        ("file:///a b/c?d#e", "file:///a%20b/c%3Fd%23e/"),
        ("file:///a%20b/", "file:///a%20b/"),
    ],
)
def test_file_urls(text: str, store_url: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.store_url, source.prefix) == ("file", store_url, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("/data/digits", "file:///data/digits/"),
        ("digits", "no URL"),
        ("s3://bucket/x", "no scheme"),
        ("file://host/share/", "names no host"),
        ("file:data", "absolute"),
        ("file:///a%00b", "NUL"),
        ("https://acct.blob.core.windows.net", "names no container"),
        ("https://acct.blob.core.windows.net/Not_A_Container/x", "a container's name has 3 to 63"),
        ("http://acct.blob.core.windows.net/cont/", "use https"),
        ("http://example.org/file.csv", "use https"),
        ("https://acct.dfs.core.windows.net", "names no file system"),
        ("https://acct.dfs.core.windows.net/fs/", "3 to 63"),
        ("http://acct.dfs.core.windows.net/lake/", "use https"),
        ("https://acct.file.core.windows.net/", "names no share"),
        ("abfss://acct.dfs.core.windows.net/x/", "names no file system"),
        ("abfss://lake@acct.blob.core.windows.net/x/", "write abfss://FILESYSTEM@ACCOUNT.dfs"),
        ("abfs://lake@127.0.0.1:10000/", "abfs://FILESYSTEM@HOST:PORT/ACCOUNT/"),
        ("abfs://lake@example.org/acct/", "write abfss"),
        ("abfss://lake@acct.dfs.core.windows.net/a/../b/", "segment"),
        ("wasbs://acct.blob.core.windows.net/x", "CONTAINER@ACCOUNT"),
        ("https://host/x?y=z", "not supported"),
        ("https://host:99999/x", "port"),
        ("https:///x", "names no host"),
    ],
)
def test_what_cannot_be_used_is_one_line_that_says_why(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as caught:
        parse_source(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://acct.blob.core.windows.net/cont/?sv=2024&sig=hunter2hunter2",
        "https://me:hunter2hunter2@host/file",
        "https://acct.blob.core.windows.net/cont/?token=hunter2hunter2",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=hunter2hunter2",
        "sv=2024-01-01&sp=rl&sig=hunter2hunter2",
        "ftp://me:hunter2hunter2@host/file",
    ],
)
def test_a_secret_in_a_source_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_source(text)
    assert "hunter2" not in str(caught.value)


@given(st.lists(st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, 47}), max_size=5))
def test_a_local_folder_survives_the_way_through_its_url(names: list[bytes]) -> None:
    assume(not {b".", b".."} & set(names))
    path = Path(os.fsdecode(b"/" + b"/".join(names)))
    source = parse_source(file_url(path))
    assert local_path(source) == path
    assert parse_source(source.base_url) == source


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_the_canonical_url_of_a_blob_prefix_is_a_fixed_point(prefix: str) -> None:
    source = parse_source(f"{AZURITE}/cont/{quote(prefix, safe='/')}")
    assert source.prefix == (prefix if prefix.endswith("/") else prefix + "/")
    again = parse_source(source.base_url)
    assert (again.base_url, again.prefix) == (source.base_url, source.prefix)


@given(
    st.text(max_size=60)
    | st.builds("https://{}".format, st.text(max_size=40))
    | st.builds(
        "abfs://lake@{}/acct{}".format, st.sampled_from(["localhost", "host:81", "::1", ""]), st.text(max_size=40)
    )
    | st.builds("https://acct.dfs.core.windows.net/{}".format, st.text(max_size=40))
)
def test_any_text_is_a_source_or_an_error_of_ours(text: str) -> None:
    try:
        source = parse_source(text)
    except MountdError:
        return
    assert source.store_url.endswith("/")
    assert parse_source(source.base_url).base_url == source.base_url


def test_a_web_server_cannot_be_written_to() -> None:
    with pytest.raises(BadInputError, match="cannot be written"):
        registry.open_writer("https://host/dir/", None)


def test_a_base_url_ends_in_a_slash() -> None:
    with pytest.raises(BadInputError, match="ends in '/'"):
        registry.open_reader("https://host/file", None)


def test_no_reader_of_a_data_lake_imports_its_sdk() -> None:
    code = (
        "import sys, mountd.stores.registry as r\n"
        f"assert r.open_reader({LAKE!r}, None).url == {LAKE!r}\n"
        "assert 'azure.storage.filedatalake' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_no_sdk_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, mountd.stores.registry as r, mountd.freeze\n"
        "r.open_reader('file:///', None), r.open_lister('memory://x/', None)\n"
        "assert not {'obstore', 'azure', 'requests'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
