"""Who may speak to the Data Lake server: shared keys by their signature, SAS tokens and bearer tokens by being known.

A shared key's signature covers the whole request and is computed here as the service computes it. A SAS token counts as good
while its `sig` is in `signatures` and its `se` lies ahead; what its other fields permit is not looked at.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from tests.support.datalake_tree import Refused

_SIGNED = (
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


@dataclass
class Access:
    """The rights as they are now; any of it may be changed while the server runs."""

    account: str
    key: str  # in base64
    accepts: set[str] = field(default_factory=lambda: {"key", "sas", "bearer"})  # and 'anonymous'
    signatures: set[str] = field(default_factory=set)  # the `sig` of every good SAS token
    tokens: set[str] = field(default_factory=set)  # good bearer tokens
    refused: set[str] = field(default_factory=set)  # operations that nobody has the right to

    def check(self, operation: str, method: str, raw_path: str, headers: Mapping[str, str]) -> None:
        """Refuse who is not let in, or has no right to `operation`."""
        query = raw_path.partition("?")[2]
        kind = self._kind(method, raw_path, query, {name.lower(): value for name, value in headers.items()})
        if kind not in self.accepts:
            if kind == "anonymous":
                raise Refused(401, "NoAuthenticationInformation", "Server failed to authenticate the request.")
            raise Refused(403, "AuthorizationFailure", f"Requests by {kind} are not authorized.")
        if operation in self.refused:
            raise Refused(403, "AuthorizationPermissionMismatch", "Not authorized to do this with this permission.")

    def check_source(self, source_query: str, raw_path: str) -> None:
        """Refuse a rename by SAS whose source has none of its own."""
        if "sig=" in raw_path and not self._is_good_sas(source_query):
            raise _failed()

    def _kind(self, method: str, raw_path: str, query: str, headers: Mapping[str, str]) -> str:
        said = headers.get("authorization", "")
        if said.startswith("SharedKey "):
            if not hmac.compare_digest(said, f"SharedKey {self.account}:{self._signature(method, raw_path, headers)}"):
                raise _failed()
            return "key"
        if said.startswith("Bearer "):
            if said.removeprefix("Bearer ") not in self.tokens:
                raise Refused(401, "InvalidAuthenticationInfo", "The token is not good.")
            return "bearer"
        if "sig=" in query:
            if not self._is_good_sas(query):
                raise _failed()
            return "sas"
        return "anonymous"

    def _is_good_sas(self, query: str) -> bool:
        fields = dict(parse_qsl(query))
        try:
            end = datetime.fromisoformat(fields["se"])
        except (KeyError, ValueError):
            return False
        return fields.get("sig") in self.signatures and end > datetime.now(UTC)

    def _signature(self, method: str, raw_path: str, headers: Mapping[str, str]) -> str:
        path, _, query = raw_path.partition("?")
        signed = [
            "" if name == "content-length" and headers.get(name) == "0" else headers.get(name, "") for name in _SIGNED
        ]
        own = sorted((name, value) for name, value in headers.items() if name.startswith("x-ms-"))
        asked = sorted((name.lower(), value) for name, value in parse_qsl(query, keep_blank_values=True))
        text = "\n".join([method, *signed, *(f"{name}:{value.strip()}" for name, value in own)])
        text += f"\n/{self.account}{path}" + "".join(f"\n{name}:{value}" for name, value in asked)
        digest = hmac.new(base64.b64decode(self.key), text.encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()


def _failed() -> Refused:
    return Refused(403, "AuthenticationFailed", "Server failed to authenticate the request.")


def unsigned(raw_path: str) -> str:
    """`raw_path` for a log of requests: unquoted, and without the signature of a SAS token."""
    path, _, query = raw_path.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name != "sig"]
    return unquote(path) + ("?" if kept else "") + "&".join(f"{name}={value}" for name, value in kept)
