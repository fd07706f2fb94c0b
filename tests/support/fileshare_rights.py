"""Who may do what on the fake Azure Files account: shared keys, SAS tokens and bearer tokens, verified as the service does.

Signatures are computed from the request as it came over the wire, so a client that signs something else is refused. SAS
tokens of an account and of a share are known, with their dates and permissions; what else a token may say is not looked at.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

from tests.support.fileshare_tree import Refused

_SIGNED_HEADERS = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
_ACCOUNT_FIELDS = ("sp", "ss", "srt", "st", "se", "sip", "spr", "sv", "ses")
_SHARE_FIELDS = ("si", "sip", "spr", "sv", "rscc", "rscd", "rsce", "rscl", "rsct")


@dataclass
class Rights:
    """What opens the account; all of it may be changed while the server runs."""

    account: str
    key: str
    tokens: set[str] = field(default_factory=set)  # bearer tokens that are good
    accepts: set[str] = field(default_factory=lambda: {"key", "sas", "bearer"})

    def check(self, method: str, target: str, headers: Mapping[str, str], permission: str) -> None:
        """Let the request pass that may do `permission` (letters as in a SAS token, of which one is enough).

        `target` is path and query, `headers` have names in lower case; both as they came.

        Raises:
            Refused: 403, or 401 without any credential.
        """
        query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
        said = headers.get("authorization", "")
        if said.startswith("SharedKey "):
            self._accept("key")
            self._equal(said.removeprefix(f"SharedKey {self.account}:"), _request_text(self, method, target, headers))
        elif said.startswith("Bearer "):
            self._accept("bearer")
            self._check_token(said.removeprefix("Bearer "), headers)
        elif "sig" in query:
            self._accept("sas")
            self._check_sas(query, urlsplit(target).path, permission)
        else:
            raise Refused(401, "NoAuthenticationInformation")

    def _accept(self, kind: str) -> None:
        if kind not in self.accepts:
            raise Refused(403, "KeyBasedAuthenticationNotPermitted" if kind == "key" else "AuthorizationFailure")

    def _check_token(self, token: str, headers: Mapping[str, str]) -> None:
        if headers.get("x-ms-file-request-intent") != "backup":
            raise Refused(400, "MissingRequiredHeader")
        if token not in self.tokens:
            raise Refused(401, "InvalidAuthenticationInfo")

    def _check_sas(self, query: Mapping[str, str], path: str, permission: str) -> None:
        if "ss" in query:
            lines = [self.account, *(query.get(name, "") for name in _ACCOUNT_FIELDS), ""]
        else:
            share = path.split("/")[2]
            first = (query.get(name, "") for name in ("sp", "st", "se"))
            lines = [*first, f"/file/{self.account}/{share}", *(query.get(name, "") for name in _SHARE_FIELDS)]
        self._equal(query["sig"], "\n".join(lines))
        now = datetime.now(UTC)
        if not _date(query.get("st"), now) <= now < _date(query.get("se"), now):
            raise Refused(403, "AuthenticationFailed")
        if not set(permission) & set(query.get("sp", "")):
            raise Refused(403, "AuthorizationPermissionMismatch")

    def _equal(self, signature: str, text: str) -> None:
        digest = hmac.digest(base64.b64decode(self.key), text.encode(), hashlib.sha256)
        if not hmac.compare_digest(signature.encode(), base64.b64encode(digest)):
            raise Refused(403, "AuthenticationFailed")


def _date(text: str | None, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(text) if text else otherwise


def _request_text(rights: Rights, method: str, target: str, headers: Mapping[str, str]) -> str:
    """The string that a shared key signs."""
    if headers.get("content-length") == "0":
        headers = {**headers, "content-length": ""}
    ours = sorted((name, value.strip()) for name, value in headers.items() if name.startswith("x-ms-"))
    parts = urlsplit(target)
    query = sorted((name.lower(), value) for name, value in parse_qsl(parts.query, keep_blank_values=True))
    lines = [
        method,
        *(headers.get(name, "") if not (name == "date" and "x-ms-date" in headers) else "" for name in _SIGNED_HEADERS),
        *(f"{name}:{value}" for name, value in ours),
        f"/{rights.account}{parts.path}",
        *(f"{name}:{value}" for name, value in query),
    ]
    return "\n".join(lines)
