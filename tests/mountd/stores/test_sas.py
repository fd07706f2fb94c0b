"""What the readable part of a SAS token tells."""

from datetime import UTC, datetime, timedelta

import pytest

from mountd.errors import AccessDeniedError
from mountd.stores.credentials import Credential, sas

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def token(end: datetime | None = None, **fields: str) -> Credential:
    parts = [f"{name}={value}" for name, value in fields.items()]
    parts += [f"se={end:%Y-%m-%dT%H%%3A%M%%3A%SZ}"] if end else []
    return Credential("sas", "&".join([*parts, "sig=hunter2"]))


def test_an_expired_token_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(AccessDeniedError, match="expired at 2026-07-01 12:00:00 UTC; make a new one") as caught:
        sas.check(token(NOW), NOW)
    assert "hunter2" not in str(caught.value)
    inside = Credential("connection_string", f"BlobEndpoint=https://a;SharedAccessSignature=?{token(NOW).secret}")
    with pytest.raises(AccessDeniedError, match="expired"):
        sas.check(inside, NOW)


def test_a_token_that_ends_within_the_hour_is_a_warning() -> None:
    soon = token(NOW + timedelta(minutes=59))
    assert sas.check(soon, NOW) == (
        "the SAS token expires in 59 minutes, at 2026-07-01 12:59:00 UTC: a longer job will outlive it"
    )
    again = sas.check(Credential("sas", soon.secret, "file:/etc/sas"), NOW)
    assert again is not None
    assert "looked up again" in again
    for fine in (token(NOW + timedelta(hours=1)), token(), Credential("key", "se=2020-01-01"), None):
        assert sas.check(fine, NOW) is None


@pytest.mark.parametrize(
    ("credential", "verb", "said"),
    [
        (token(NOW, sp="rl"), "read", "expired at"),
        (token(st="2026-07-01T13:00Z", sp="rl"), "read", "good from 2026-07-01 13:00:00 UTC on; wait, or set this"),
        (token(sp="r"), "list", "has no right to list (sp=r); make one that has 'l' in it"),
        (token(sp="rl"), "write", "no right to write"),
        (token(sp="rcwl"), "delete", "no right to delete"),
        (token(sp="c"), "write", None),
        (token(si="policy"), "read", None),
        (Credential("key", "a2V5"), "read", None),
        (None, "read", None),
    ],
)
def test_a_refusal_is_explained_as_far_as_the_token_tells(
    credential: Credential | None, verb: sas.Verb, said: str | None
) -> None:
    why = sas.why_refused(credential, verb, NOW)
    assert (why is None) == (said is None)
    assert (said or "") in (why or "")
