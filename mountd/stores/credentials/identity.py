"""Tokens of an identity: a service principal, a managed identity, or whoever azure-identity finds on this machine.

azure-identity is an extra and is imported when a store is opened. A token is asked for by the thread that needs one and kept
until shortly before its end, or up to it while no other is to be had; obstore and Microsoft's SDKs get it from here, so that
there is one request for all clients of a store, with our limits of time, and its failure is one of ours.

Invariants: of a failure only the service's code (AADSTS...) is told; one thread asks for a token at a time, others who need
one wait for its outcome; the lock protects two fields and is not held meanwhile.
"""

import json
import logging
import re
import threading
import time
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken

from mountd.errors import AccessDeniedError, BadInputError, MountdError, StoreUnreachableError
from mountd.stores.credentials import Credential

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_LOG = logging.getLogger(__name__)
_CONNECT_S, _ANSWER_S, _ATTEMPTS = 5, 10, 1
_MARGIN_S: Final = 300.0  # a token is replaced so long before its end
_LEAST_S: Final = 10.0  # less would end under the request that it is for
_PAUSE_S: Final = 15.0
_RESOURCE: Final = "https://storage.azure.com/"
_CODE: Final = re.compile(r"AADSTS\d+")
# Hosts that Microsoft's own discovery knows; it would refuse to go on with any other one.
_KNOWN_HOSTS: Final = re.compile(
    r"login\.(microsoftonline|microsoft|chinacloudapi|partner\.microsoftonline)\.(com|us|cn)"
)


class Identity:
    """Whoever asks for tokens; speaks the protocol `TokenCredential` of Microsoft's SDKs."""

    def __init__(self, credential: Credential) -> None:
        """Contact nobody yet.

        Raises:
            BadInputError: azure-identity is not installed, or the principal is not whole.
        """
        self._name = _name(credential)
        self._asked = _asked(credential)
        self._scope = f"{_fields(credential).get('resource_url', _RESOURCE).rstrip('/')}/.default"
        self._lock = threading.Lock()  # protects the three below
        self._token: AccessToken | None = None
        self._outcome: Future[AccessToken] | None = None  # of the thread that asks
        self._again_s = 0.0  # until then no other token is asked for while this one is good

    def __repr__(self) -> str:
        return f"Identity({self._name!r})"

    def token(self) -> AccessToken:
        """A token that is good for some minutes more.

        Raises:
            AccessDeniedError: the identity is refused, or there is none on this machine.
            StoreUnreachableError: whoever gives tokens does not answer.
        """
        with self._lock:
            token, outcome, now_s = self._token, self._outcome, time.time()
            left_s = 0.0 if token is None else token.expires_on - now_s
            is_asked = outcome is not None or now_s < self._again_s
            if token is not None and (left_s >= _MARGIN_S or (left_s > _LEAST_S and is_asked)):
                return token
            if outcome is None:
                self._outcome = ours = Future[AccessToken]()
        if outcome is not None:
            return outcome.result()
        try:
            new = self._new()
        except BaseException as error:
            if token is None or left_s <= _LEAST_S:
                self._settle(None)
                ours.set_exception(error)
                raise
            _LOG.warning("%s; the token that is there is good for %.0f s more", error, left_s)
            new = token
        self._settle(new)
        ours.set_result(new)
        return new

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        """As `token`; a storage service's SDK has no other scope to ask for."""
        return self.token()

    def _settle(self, token: AccessToken | None) -> None:
        with self._lock:
            self._token, self._outcome, self._again_s = token, None, time.time() + _PAUSE_S

    def _new(self) -> AccessToken:
        try:
            return self._asked.get_token(self._scope)
        except Exception as error:  # noqa: BLE001  # azure-identity promises nothing about what else leaves it
            raise self._translated(error) from None

    def _translated(self, error: Exception) -> MountdError:
        if _is_network(error):
            return StoreUnreachableError(
                f"{self._name}: no token: whoever gives tokens does not answer; check the network, and authority_url"
            )
        code = _CODE.search(str(error))
        said = f" ({code[0]})" if code else ""
        return AccessDeniedError(f"{self._name}: no token is given{said}; {_remedy(self._name)}")


@lru_cache(maxsize=64)
def identity_of(credential: Credential) -> Identity:
    """The identity that `credential` is: one object for all stores of a process, with one token.

    Raises:
        BadInputError: azure-identity is not installed, or the principal is not whole.
    """
    return Identity(credential)


def _name(credential: Credential) -> str:
    return {"azure_default": "azure-default", "managed_identity": "managed identity"}.get(
        credential.kind, "service principal"
    )


def _remedy(name: str) -> str:
    return {
        "azure-default": "log in (az login), or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET",
        "managed identity": "assign one to this machine, and check the client id that was given",
    }.get(name, "check tenant, client id and secret, and whether the secret has expired")


def _fields(credential: Credential) -> dict[str, str]:
    if credential.kind != "service_principal":
        return {}
    try:
        return dict(json.loads(credential.secret))
    except (ValueError, TypeError):
        raise BadInputError("the service principal that is kept is damaged; give it again") from None


def _asked(credential: Credential) -> "TokenCredential":
    """azure-identity's own object."""
    try:
        import azure.identity as azure_identity
    except ImportError:
        raise BadInputError(
            f"the credential {_name(credential)} needs a package more: pip install 'moorage[identity]'"
        ) from None
    bounds: dict[str, Any] = {
        "connection_timeout": _CONNECT_S,
        "read_timeout": _ANSWER_S,
        "retry_total": _ATTEMPTS,
        "logging_enable": False,
    }
    if credential.kind == "azure_default":
        return azure_identity.DefaultAzureCredential(**bounds)
    if credential.kind == "managed_identity":
        return azure_identity.ManagedIdentityCredential(client_id=credential.secret or None, **bounds)
    fields = _fields(credential)
    if authority := fields.get("authority_url"):
        host = urlsplit(authority).netloc or authority
        bounds |= {"authority": f"https://{host}", "disable_instance_discovery": not _KNOWN_HOSTS.fullmatch(host)}
    try:
        tenant, client = fields["tenant_id"], fields["client_id"]
        if path := fields.get("certificate_path"):
            password = fields.get("certificate_password")
            return azure_identity.CertificateCredential(tenant, client, path, password=password, **bounds)
        return azure_identity.ClientSecretCredential(tenant, client, fields["client_secret"], **bounds)
    except (KeyError, ValueError, OSError) as error:
        raise BadInputError(
            f"the service principal cannot be used ({type(error).__name__}); it needs tenant_id, client_id, and "
            "client_secret or certificate_path"
        ) from None


def _is_network(error: BaseException | None) -> bool:
    """Whether nobody answered, wherever in the chain azure-identity has put that."""
    import requests
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    while error is not None:
        if isinstance(error, ServiceRequestError | ServiceResponseError | requests.RequestException):
            return True
        error = error.__cause__ or error.__context__
    return False
