"""What may go wrong with an answer on its way: each fault is a name and a function from a right answer to a wrong one.

An `Answer` is what the client will get: status, headers and body, and how they are sent (late, in pieces, broken off). A
fault changes that value and does nothing itself; the proxy asks the upstream, applies it and sends what came of it.

Invariants: a fault is a function of the answer alone, so it does the same each time; what it puts in the place of data is
nothing that `content` ever gives.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Literal

HTML = b"<html><body><h1>A page that is no data</h1></body></html>"
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and the manner of its sending. `headers` have lower-case names, and no length: that is told apart."""

    status: int
    headers: dict[str, str]
    body: bytes
    told_bytes: int | None = None  # the length that the head tells, if not the body's
    delay_s: float = 0  # before the head
    piece_bytes: int = 0  # the body goes in pieces of that size, with a pause before each; 0: at once
    pause_s: float = 0
    sent_bytes: int | None = None  # what is sent of the body before the `ending`; None: all; -1: not even the head
    ending: Literal["", "close", "reset", "stall"] = ""

    def with_headers(self, **headers: str) -> "Answer":
        """The same with headers added or replaced; `_` stands for `-`."""
        return replace(self, headers=self.headers | {name.replace("_", "-"): told for name, told in headers.items()})


@dataclass(frozen=True, slots=True)
class Fault:
    """`name` is counted in the report. `asks`: what the upstream is asked for: the request, all of it or nothing."""

    name: str
    change: Callable[[Answer], Answer]
    asks: Literal["it", "whole", "nothing"] = "it"


def latency(seconds: float) -> Fault:
    """The answer comes later."""
    return Fault("latency", lambda answer: replace(answer, delay_s=seconds))


def trickle(piece_bytes: int = 1, pause_s: float = 0.1) -> Fault:
    """The body comes in small pieces with pauses in between."""
    return Fault("trickle", lambda answer: replace(answer, piece_bytes=piece_bytes, pause_s=pause_s))


def stall(after_bytes: int = -1) -> Fault:
    """The answer stops after so many bytes of the body (-1: before its head), and the connection stays open."""
    name = "stall" if after_bytes < 0 else "stalled body"
    return Fault(name, lambda answer: replace(answer, sent_bytes=after_bytes, ending="stall"))


def reset() -> Fault:
    """The connection is reset in the middle of the body."""
    return Fault("reset", lambda answer: replace(answer, sent_bytes=len(answer.body) // 2, ending="reset"))


def short() -> Fault:
    """The head tells the right length, and the connection is closed in the middle of the body."""
    return Fault("short", lambda answer: replace(answer, sent_bytes=len(answer.body) // 2, ending="close"))


def brief() -> Fault:
    """Half of the body, with the length of that half: the headers speak of the whole range all the same."""
    return Fault("brief", lambda answer: replace(answer, body=answer.body[: len(answer.body) // 2]))


def whole() -> Fault:
    """200 with the whole object in the place of 206; it is asked for without a signature, so it must be public."""
    return Fault("whole", lambda answer: answer, asks="whole")


def wrong_range() -> Fault:
    """206 with the bytes of another place, which Content-Range tells."""

    def change(answer: Answer) -> Answer:
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None:
            return answer
        first, last, length = map(int, found.groups())
        # The neighbours of the range are not known here; what is made up in their place must not be handed on either.
        if last + 1 < length:
            first, last, body = first + 1, last + 1, answer.body[1:] + b"!"
        elif first:
            first, last, body = first - 1, last - 1, b"!" + answer.body[:-1]
        else:
            first, body = 1, answer.body[1:]
        return replace(answer, body=body).with_headers(content_range=f"bytes {first}-{last}/{length}")

    return Fault("wrong range", change)


def changed_etag(etag: str = '"0xANOTHER"') -> Fault:
    """The answer says that it is of another version."""
    return Fault("changed etag", lambda answer: answer.with_headers(etag=etag))


def flip() -> Fault:
    """One bit in the middle of the body is another."""

    def change(answer: Answer) -> Answer:
        middle, body = len(answer.body) // 2, bytearray(answer.body)
        body[middle : middle + 1] = bytes(byte ^ 0x20 for byte in body[middle : middle + 1])
        return replace(answer, body=bytes(body))

    return Fault("flip", change)


def without_md5() -> Fault:
    """The answer has lost its Content-MD5."""

    def change(answer: Answer) -> Answer:
        return replace(answer, headers={name: told for name, told in answer.headers.items() if name != "content-md5"})

    return Fault("without MD5", change)


def page(status: int = HTTPStatus.OK, *, xml: bool = False, headers: bool = False) -> Fault:
    """An error page with a status of success; with `headers` under those of the data, its length alone is its own."""
    body = _xml("InternalError") if xml else HTML
    kind = "application/xml" if xml else "text/html"

    def change(answer: Answer) -> Answer:
        kept = answer.headers if headers else {}
        return Answer(status, kept | {"content-type": kind}, body)

    name = f"{'xml' if xml else 'html'} page {status}" + " under right headers" * headers
    return Fault(name, change, asks="it" if headers else "nothing")


def refusal(status: int, code: str = "", *, retry_after: str = "") -> Fault:
    """An error by its status: with a service's `code` as Azure tells it, else with a web server's page."""

    def change(_: Answer) -> Answer:
        kind = "application/xml" if code else "text/html"
        answer = Answer(status, {"content-type": kind}, _xml(code) if code else HTML)
        answer = answer.with_headers(x_ms_error_code=code) if code else answer
        return answer.with_headers(retry_after=retry_after) if retry_after else answer

    return Fault(f"HTTP {status}" + f" for {retry_after} s" * bool(retry_after), change, asks="nothing")


def expired_token() -> Fault:
    """What Azure says of a token that is no longer valid."""
    return replace(refusal(HTTPStatus.FORBIDDEN, "AuthenticationFailed"), name="expired token")


def _xml(code: str) -> bytes:
    return f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>No.</Message></Error>'.encode()
