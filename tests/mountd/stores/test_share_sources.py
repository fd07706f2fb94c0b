"""How a file share is named: URLs, and names within it."""

from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mountd.errors import BadInputError, HostilePathError
from mountd.stores.share import names as share_names
from mountd.stores.source import Source, parse_source

PUBLIC = "https://acct.file.core.windows.net"
OWN = "azfile://127.0.0.1:10004/acct"


@pytest.mark.parametrize(
    ("text", "store_url", "prefix", "endpoint"),
    [
        (f"{PUBLIC}/share", f"{PUBLIC}/share/", "", PUBLIC),
        ("https://ACCT.file.core.windows.net:443/share/a%20b/", f"{PUBLIC}/share/", "a b/", PUBLIC),
        (f"{PUBLIC}/share/a//b", f"{PUBLIC}/share/", "a/b/", PUBLIC),
        ("azfiles://acct.file.core.windows.net/share/", f"{PUBLIC}/share/", "", PUBLIC),
        (
            "https://acct.file.core.chinacloudapi.cn/s-1/",
            "https://acct.file.core.chinacloudapi.cn/s-1/",
            "",
            "https://acct.file.core.chinacloudapi.cn",
        ),
        (f"{OWN}/share/p/", f"{OWN}/share/", "p/", "http://127.0.0.1:10004/acct"),
        ("azfile://files:80/acct/share/", "azfile://files:80/acct/share/", "", "http://files:80/acct"),
        ("azfiles://files.corp/acct/share", "azfiles://files.corp/acct/share/", "", "https://files.corp/acct"),
        ("azfiles://[::1]:9/acct/share", "azfiles://[::1]:9/acct/share/", "", "https://[::1]:9/acct"),
    ],
)
def test_a_share_has_one_canonical_url(text: str, store_url: str, prefix: str, endpoint: str) -> None:
    open_ended = bool(prefix) and not text.endswith("/")
    source = parse_source(text)
    assert source == Source("share", store_url, prefix, "", open_ended, endpoint, "acct", source.container)
    assert store_url.endswith(f"/{source.container}/")
    assert parse_source(source.base_url) == replace(source, open_ended=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PUBLIC, "names no share"),
        (f"{PUBLIC}/No_Share/x", "a share's name has 3 to 63"),
        (f"{PUBLIC}/share/a/../b/", "segment"),
        ("http://acct.file.core.windows.net/share/", "use https"),
        ("azfile://acct.file.core.windows.net/share/", "use https"),
        ("azfile://files.corp/acct/share/", "use azfiles"),
        ("azfile:///acct/share/", "HOST:PORT/ACCOUNT/SHARE"),
        ("azfiles://host/No_Account/share/", "HOST:PORT/ACCOUNT/SHARE"),
        (f"{PUBLIC}/share/?sv=2024&sig=hunter2hunter2", "SAS token"),
        ("azfiles://me:hunter2hunter2@host/acct/share/", "password"),
    ],
)
def test_what_is_no_share_is_one_line_that_says_why(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as caught:
        parse_source(text)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_the_canonical_url_of_a_folder_is_a_fixed_point(prefix: str) -> None:
    assume(not {".", ".."} & set(prefix.split("/")))
    source = parse_source(f"{OWN}/share/{quote(prefix, safe='/')}")
    again = parse_source(source.base_url)
    assert (again.base_url, again.prefix) == (source.base_url, source.prefix)


@pytest.mark.parametrize("key", ["", "a//b", "/a", "a/", "../x", "a/./b", ".."])
def test_a_key_that_leads_elsewhere_is_hostile(key: str) -> None:
    with pytest.raises(HostilePathError):
        share_names.check(key, f"{OWN}/share/")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a:b", "':'"),
        ('"', "holds"),
        ("a\\b", "holds"),
        ("tab\tx", r"holds '\\t'"),
        ("\udcff", "holds"),
        ("com7", "device"),
        ("n" * 256, "longer than 255"),
        ("🎉" * 128, "longer than 255"),
        ("/".join(["n" * 250] * 9), "path of"),
    ],
)
def test_a_name_that_the_service_does_not_take_is_told_why(name: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        share_names.check(f"folder/{name}", f"{OWN}/share/")


def test_names_that_are_merely_odd_pass() -> None:
    for name in ("a b", "ü", "100%", "a%20b", "h#y", "p+q", "trail.", "com0", "n" * 255, "..a", "'&;,@$!~[]{}"):
        share_names.check(f"folder/{name}", f"{OWN}/share/")


def test_names_are_folded_letter_by_letter() -> None:
    assert share_names.folded("Ünï/File.TXT") == share_names.folded("üNÏ/fILE.txt")
    assert share_names.folded("ß") != share_names.folded("SS")
