"""The log: one line a record, with nothing secret in it, in one of three forms.

    text      2026-07-01T12:00:00.123Z WARNING mountd.reading.fetcher  a.png: 503, asked again in 0.4 s
    json      {"time": "2026-07-01T12:00:00.123Z", "level": "WARNING", "logger": …, "text": …, "mountpoint": …, "path": …}
    journal   <4>mountd.reading.fetcher  a.png: 503, asked again in 0.4 s

`auto` is journal where systemd has said, by JOURNAL_STREAM, that the stream is its journal, and text elsewhere. What a
record is about (`path`, `errno`, as `extra` of the logging call) is shown in JSON only: in the others the text says it.

`open_log` puts one handler on the logger of each of our packages, and a filter on that handler: whatever a record's
text, arguments or traceback hold, a signature or key in it is replaced before it is written. Modules log with
`logging.getLogger(__name__)` and never configure anything.

Invariants: one record is one line (a traceback, in debug only, follows indented); `redact` never makes a text longer
than its secret was, and changes nothing in a text without one.
"""

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Final, Literal, TextIO

LogFormat = Literal["auto", "text", "json", "journal"]
PACKAGES: Final = ("mountd", "runtime")
HIDDEN: Final = "***"
_ABOUT: Final = ("path", "errno")  # what a record may carry in `extra`
_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog(3)

_SECRETS: Final = (
    # A SAS token's signature, plain or percent-encoded, wherever a URL or a token stands.
    re.compile(r"(?i)(?:(?<![a-z0-9])|(?<=%26)|(?<=%3f))(sig(?:=|%3d))[^&\s\"'<>;,]+"),
    # Connection strings, and headers and settings of the same form.
    re.compile(r"(?i)((?:account|shared|access|storage)[-_ ]?(?:access[-_ ]?)?key[\"']?\s*[=:]\s*[\"']?)[^\s;,&\"')]+"),
    re.compile(r"(?i)(SharedAccessSignature[\"']?\s*[=:]\s*[\"']?)[^\s;,\"']+"),
    re.compile(
        r"(?i)((?<!/)(?:client[-_ ]?secret|password|passwd|(?:access|refresh)[-_ ]?token)[\"']?\s*[=:]\s*[\"']?)[^\s;,&\"']+"
    ),
    re.compile(r"(?i)(\bauthorization[\"']?\s*[=:]\s*[\"']?(?:bearer|basic|sharedkey(?:lite)?)\s+)[^\s\"',]+"),
    re.compile(r"(?i)(\bbearer\s+)[a-z0-9._~+/-]{16,}=*"),
    re.compile(r"(?i)([a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(?=@)"),
    # A storage account's key by itself: 64 bytes in base64.
    re.compile(r"()(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{86}==(?!=)"),
)


def redact(text: str) -> str:
    """`text` with every signature, account key, password and bearer token in it replaced by `***`."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


class RedactingFilter(logging.Filter):
    """Replaces secrets in a record before any handler formats it; lets every record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Make the record's text final and redacted."""
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a wrong format is the caller's defect; its text must still get out
            text = f"{record.msg} {record.args}"
        record.msg, record.args = redact(text), ()
        return True


class LineFormatter(logging.Formatter):
    """Time in UTC, level, logger, text; line breaks in the text are shown as backslash and n."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; in debug a traceback follows, indented."""
        text = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        return f"{self._head(record)}{record.name}  {text}{self._failure(record)}"

    def _head(self, record: logging.LogRecord) -> str:
        return f"{_time(record)} {record.levelname} "

    def _failure(self, record: logging.LogRecord) -> str:
        if not record.exc_info or record.exc_info[1] is None:
            return ""
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            trace = redact(self.formatException(record.exc_info))
            return "\n" + "\n".join("    " + line for line in trace.splitlines())
        error = record.exc_info[1]
        return redact(f" ({type(error).__name__}: {error})").replace("\n", "\\n")


class JournalFormatter(LineFormatter):
    """As its parent, but with what the journal wants in the place of time and level, which it keeps itself: a priority."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; those of a traceback have the priority, too: each is a message to the journal."""
        return super().format(record).replace("\n", "\n" + self._head(record))

    def _head(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return f"<{priority}>"


class JsonFormatter(LineFormatter):
    """One JSON object a line. `fields` are the same in every record: what the whole log is about."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__()
        self._fields = dict(fields)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII."""
        told: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "text": record.getMessage(),
            **self._fields,
        }
        for name in _ABOUT:
            if (value := getattr(record, name, None)) is not None:
                told[name] = redact(value) if isinstance(value, str) else value
        if failure := self._failure(record).strip():
            told["failure"] = failure
        return json.dumps(told, default=str)


def _time(record: logging.LogRecord) -> str:
    """When it was, in UTC, to the millisecond."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{when}.{int(record.msecs):03d}Z"


def open_log(
    level: str, stream: TextIO, form: LogFormat = "auto", fields: Mapping[str, str] | None = None
) -> logging.Handler:
    """Send records of `level` ('debug', 'info', 'warning', 'error') and above to `stream`; return the handler.

    `fields` go into every record that is JSON. A second call replaces the first one's handler: there is one log a process.
    """
    settled: LogFormat = "journal" if form == "auto" and _is_journal(stream) else form
    return _install(level, logging.StreamHandler(stream), settled, fields)


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd says that `stream` goes to its journal: DEVICE:INODE, because a descendant may have redirected it."""
    try:
        told = os.fstat(stream.fileno())
    except (OSError, ValueError):  # no file, or closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{told.st_dev}:{told.st_ino}"


def _formatter(form: LogFormat, fields: Mapping[str, str] | None) -> LineFormatter:
    if form == "json":
        return JsonFormatter(fields or {})
    return JournalFormatter() if form == "journal" else LineFormatter()


def _install(
    level: str, handler: logging.Handler, form: LogFormat, fields: Mapping[str, str] | None
) -> logging.Handler:
    handler.setFormatter(_formatter(form, fields))
    handler.addFilter(RedactingFilter())
    handler.set_name("moorage")
    for package in PACKAGES:
        logger = logging.getLogger(package)
        for old in [each for each in logger.handlers if each.get_name() == "moorage"]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False
    return handler


def close_log(handler: logging.Handler) -> None:
    """Take `handler` off again and let records pass to the root logger, as before `open_log`."""
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
