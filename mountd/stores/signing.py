"""The authorisation of a request to Azure Storage that goes out without an SDK: what `requests` calls before it sends.

An account key signs the method, the `x-ms-` headers and the query (Shared Key); a SAS token becomes part of the query; an
identity's token becomes a header. Each takes the secret anew for each request, so that one that was replaced counts at once.

Invariants: only a GET without a body is signed; a request goes out with our authorisation or with none, never with one that
`requests` found in a .netrc file.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from requests import PreparedRequest
from requests.auth import AuthBase

_SCOPE: Final = "https://storage.azure.com/.default"
_UNUSED_HEADERS: Final = "\n" * 12  # between the method and the x-ms- headers; no GET of ours has any of them


def authorisation(credential: Any) -> AuthBase:
    """What signs requests by the right that an SDK's client would take as its `credential`; None is anonymous."""
    if isinstance(credential, AzureNamedKeyCredential):
        return _SharedKey(credential)
    if isinstance(credential, AzureSasCredential):
        return _Sas(credential)
    return _Anonymous() if credential is None else _Bearer(credential)


class _Anonymous(AuthBase):
    """Adds nothing."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        return request


class _SharedKey(AuthBase):
    def __init__(self, credential: AzureNamedKeyCredential) -> None:
        self._credential = credential

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        account, key = self._credential.named_key
        request.headers["x-ms-date"] = formatdate(usegmt=True)
        text = f"{request.method}{_UNUSED_HEADERS}{_headers(request)}\n{_resource(account, request)}"
        signature = hmac.digest(b64decode(key), text.encode(), hashlib.sha256)
        request.headers["Authorization"] = f"SharedKey {account}:{b64encode(signature).decode()}"
        return request


class _Sas(AuthBase):
    def __init__(self, credential: AzureSasCredential) -> None:
        self._credential = credential

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        parts = urlsplit(str(request.url))
        query = "&".join(filter(None, (parts.query, self._credential.signature.removeprefix("?"))))
        request.url = urlunsplit(parts._replace(query=query))
        return request


class _Bearer(AuthBase):
    def __init__(self, credential: Any) -> None:
        self._credential = credential

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._credential.get_token(_SCOPE).token}"
        return request


def _headers(request: PreparedRequest) -> str:
    ours = {name.lower(): str(value).strip() for name, value in request.headers.items()}
    return "\n".join(f"{name}:{ours[name]}" for name in sorted(ours) if name.startswith("x-ms-"))


def _resource(account: str, request: PreparedRequest) -> str:
    parts = urlsplit(str(request.url))
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))  # each name stands once in what we ask
    return "\n".join((f"/{account}{parts.path}", *(f"{name.lower()}:{value}" for name, value in query)))
