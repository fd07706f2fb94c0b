"""What Microsoft's storage SDKs need around them: credentials, connections, time limits, and their errors in our words.

Invariants: an SDK asks once, the retries are ours; messages are made of statuses and service codes only, because the SDKs'
texts hold URLs and signatures; nothing of an SDK's own errors gets out of `sdk_translated`.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn

import requests
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import RequestsTransport

from mountd.errors import AccessDeniedError, BadInputError, DataChangedError, DestinationExistsError, NotFoundError
from mountd.log import RedactingFilter
from mountd.stores.credentials import IDENTITIES, REMEDY, Credential
from mountd.stores.credentials.identity import identity_of
from mountd.stores.retry import NO_ANSWER, NO_HOST, NO_TRUST, TransientError, parse_retry_after

Timeouts = dict[str, Any]  # keywords for an SDK's transport

WRONG_MD5: Final = "the bytes that came do not have the MD5 that the service told"
MALFORMED: Final = "the answer is not well-formed"
NO_CONTAINER: Final = "ContainerNotFound"
_CONNECT_S = 5.0
_CONNECTIONS = 64
_PIECE_BYTES = 1 << 16
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/\d+")
_EXISTS = {"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet"}

# urllib3 writes whole URLs, SAS signature included, at debug level.
logging.getLogger("urllib3.connectionpool").addFilter(RedactingFilter())
# They log what they raise as well, up to "critical"; what it means to us is in our own line.
for _name in ("azure.core", "azure.storage"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


def sdk_credential(found: Credential, account: str) -> Any:
    """What an SDK's client takes as its credential."""
    if found.kind == "key":
        return AzureNamedKeyCredential(account, found.secret)
    if found.kind == "sas":
        return AzureSasCredential(found.secret)
    return identity_of(found) if found.kind in IDENTITIES else None


class _BoundedAnswers(requests.adapters.HTTPAdapter):
    """Connections whose answers end by the limit of a request, with their bodies.

    The limit that `requests` knows begins anew with every piece that comes: an answer that trickles would never end.
    """

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send it; the body may be read until the sum of both limits is over, and what is sent does not count."""
        begin_s = time.monotonic()
        response = super().send(request, *args, **kwargs)
        limits = kwargs.get("timeout")
        if isinstance(limits, tuple):
            sends = request.method not in {"GET", "HEAD"}
            end_s = sum(limits) + (time.monotonic() if sends else begin_s)
            response.raw.stream = partial(_pieces, response.raw, end_s)
        return response


def _pieces(raw: Any, end_s: float, _: int = 0, *, decode_content: bool | None = None) -> Iterator[bytes]:
    """A body as it comes, in the place of what `raw` itself would only give in pieces of a certain size."""
    while data := raw.read1(_PIECE_BYTES, decode_content=decode_content):
        if time.monotonic() > end_s:
            raw.close()
            raise requests.ReadTimeout("timed out in the middle of a body")
        yield data


def transport() -> RequestsTransport:
    """A transport for many threads: the default one keeps 10 connections and warns about each further one."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _BoundedAnswers(pool_maxsize=_CONNECTIONS))
    return RequestsTransport(session=session, session_owner=True)


def timeouts_of(limit_s: float) -> Timeouts:
    """The SDK's two limits out of one."""
    # The SDK takes no sum of the two: together they end with the time that is left.
    connect_s = min(_CONNECT_S, limit_s / 2)
    return {"connection_timeout": connect_s, "read_timeout": limit_s - connect_s}


def exists(name: str) -> str:
    """The line for a key that is taken."""
    return f"{name}: exists already; choose another place, or allow overwriting"


def checks_of(name: str, *, verified: bool) -> dict[str, Any]:
    """The keywords that have an SDK check a download of `name`; a verified one comes in ranges of 4 MiB."""

    def check(response: Any) -> None:
        # An SDK takes whatever comes with a status of success, also without an MD5, for what it asked for.
        _check_range(response)
        answer = response.http_response
        if verified and answer.status_code < 300 and "content-md5" not in answer.headers:
            _refuse(response, BadInputError(f"{name}: the service tells no MD5; leave --verify-wire out"))

    return {"validate_content": verified, "raw_response_hook": check}


def _check_range(response: Any) -> None:
    """Refuse a page in the place of data, another range, and half of one.

    Raises:
        TransientError: it is not what was asked for.
    """
    answer, asked = response.http_response, response.http_request.headers.get("x-ms-range")
    if asked is None or answer.status_code >= 300:  # without a range the SDK asks about an empty blob
        return
    if why := _why_no_range(asked, answer.headers):
        _refuse(response, TransientError(why))


def _why_no_range(asked: str, headers: Any) -> str:
    first, _, last = asked.removeprefix("bytes=").partition("-")
    told = _CONTENT_RANGE.fullmatch(headers.get("Content-Range") or "")
    if told is None:
        return "an answer came that is no range of a blob"
    if told[1] != first or int(told[2]) > int(last):
        return "another range came than was asked for"
    size, came = int(told[2]) - int(told[1]) + 1, int(headers.get("Content-Length") or -1)
    return f"{came} bytes came, {size} were told" if came not in {size, -1} else ""


def _refuse(response: Any, error: Exception) -> NoReturn:
    """Raise `error` in the place of an answer, whose connection nobody would close otherwise."""
    response.http_response.internal_response.close()
    raise error


@contextmanager
def sdk_translated(name: str, *, pinned: bool, anonymous: bool) -> Iterator[None]:
    """Turn what an SDK raises into our errors, or into `TransientError` where asking again may help."""
    try:
        yield
    except HttpResponseError as error:
        raise _answered(name, error, pinned=pinned, anonymous=anonymous) from None
    except (ServiceRequestError, ServiceResponseError) as error:
        raise TransientError(_network_reason(error)) from None
    except requests.RequestException as error:  # an SDK lets out what happens in the middle of a body
        raise TransientError(_network_reason(error)) from None
    except AzureError as error:
        if str(error).startswith("MD5 mismatch"):
            raise TransientError(WRONG_MD5) from None
        raise TransientError(f"the SDK failed ({type(error).__name__})") from None
    except (ValueError, SyntaxError):  # what an SDK says of headers that lack, and its parser of a body that is no XML
        raise TransientError(MALFORMED) from None


def _network_reason(error: Exception) -> str:
    text = str(error)
    signs = (
        ("Connection refused", "the connection was refused"),
        ("NameResolutionError", NO_HOST),
        ("Name or service not known", NO_HOST),
        ("CERTIFICATE_VERIFY_FAILED", NO_TRUST),
        ("SSLError", "no TLS can be agreed on"),
        ("timed out", NO_ANSWER),
    )
    return next((said for sign, said in signs if sign in text), "the connection failed or broke off")


def error_code(error: HttpResponseError) -> str:
    """The service's own code of an error, '' without one."""
    code = getattr(error, "error_code", None)  # set by the storage SDK, as an enum where it knows the code
    return str(getattr(code, "value", code) or "")


def _answered(name: str, error: HttpResponseError, *, pinned: bool, anonymous: bool) -> Exception:
    status = error.status_code or 0
    code = error_code(error)
    said = f"HTTP {status} {code}".rstrip()
    if status in _TRANSIENT or status < 300:  # 0 for a body that broke off, and success with what the SDK cannot read
        header = getattr(error.response, "headers", {}).get("Retry-After")
        return TransientError(said if status >= 300 else MALFORMED, parse_retry_after(header))
    if code in _EXISTS and not pinned:
        return DestinationExistsError(exists(name))
    if status in {412, 416} or (status == 404 and pinned and code != NO_CONTAINER):
        return DataChangedError(f"{name}: changed or gone since it was frozen; freeze the source again")
    if status in {401, 403} or code == "PublicAccessNotPermitted" or (anonymous and code == "ResourceNotFound"):
        denied = "there is no credential for it" if anonymous else "the credential is refused or lacks the right"
        return AccessDeniedError(f"{name}: access denied, {denied} ({said}); {REMEDY}")
    if status == 404:
        what = "no such container; create it or check its name" if code == NO_CONTAINER else "no such object"
        if name.endswith("/") and code != NO_CONTAINER:  # what was asked for was a listing
            what = "no such account or container; check both names"
        return NotFoundError(f"{name}: {what}")
    return BadInputError(f"{name}: the store refuses the request ({said})")
