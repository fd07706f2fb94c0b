"""The readable part of a SAS token: until when it is good, and what it allows. Pure.

A token tells its dates and rights in the clear (`st`, `se`, `sp`); only its signature is secret. So its end can be told
before the store refuses it, and a refusal can be explained. A token that is tied to a policy in the account (`si`) may tell
none of it; then nothing is known here.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal
from urllib.parse import parse_qs

from mountd.errors import AccessDeniedError
from mountd.stores.credentials import Credential, connection_fields

Verb = Literal["list", "read", "write", "delete"]

SOON: Final = timedelta(hours=1)
_REMEDY: Final = "make a new one, and give it in the same way"
#: The letters of `sp`, any of which allows a verb.
_LETTERS: Final[dict[Verb, str]] = {"list": "l", "read": "r", "write": "wc", "delete": "dxy"}


def begins_at(credential: Credential | None) -> datetime | None:
    """From when the token is good; None: it does not say, or there is no token."""
    return _date(_token(credential), "st")


@lru_cache(maxsize=64)  # asked before every read
def ends_at(credential: Credential | None) -> datetime | None:
    """Until when the token is good; None: it does not say, or there is no token."""
    return _date(_token(credential), "se")


def check(credential: Credential | None, now: datetime | None = None) -> str | None:
    """What to warn of before a credential is put to use: that its token ends soon; None: nothing.

    Raises:
        AccessDeniedError: it has expired.
    """
    now, end = now or datetime.now(UTC), ends_at(credential)
    if end is None:
        return None
    if end <= now:
        raise AccessDeniedError(f"{_expired(end)}; {_REMEDY}")
    if end - now < SOON:
        minutes = max(1, round((end - now) / timedelta(minutes=1)))
        again = "" if credential is None or not credential.origin else "; it will be looked up again where it came from"
        return (
            f"the SAS token expires in {minutes} minutes, at {_shown(end)}{again or ': a longer job will outlive it'}"
        )
    return None


def why_refused(credential: Credential | None, verb: Verb, now: datetime | None = None) -> str | None:
    """Why a store may have refused this token, with the remedy; None: the token does not tell."""
    now, end, begin, token = now or datetime.now(UTC), ends_at(credential), begins_at(credential), _token(credential)
    if end is not None and end <= now:
        return f"{_expired(end)}; {_REMEDY}"
    if begin is not None and begin > now:
        return f"the SAS token is good from {_shown(begin)} on; wait, or set this machine's clock"
    rights = _field(token, "sp")
    if rights and not set(rights) & set(_LETTERS[verb]):
        return f"the SAS token has no right to {verb} (sp={rights}); make one that has '{_LETTERS[verb][0]}' in it"
    return None


def _expired(end: datetime) -> str:
    return f"the SAS token expired at {_shown(end)}"


def _shown(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _token(credential: Credential | None) -> str:
    if credential is None:
        return ""
    if credential.kind == "connection_string":
        return connection_fields(credential.secret).get("sharedaccesssignature", "").removeprefix("?")
    return credential.secret if credential.kind == "sas" else ""


def _field(token: str, name: str) -> str:
    return parse_qs(token).get(name, [""])[0]


def _date(token: str, name: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(_field(token, name))
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
