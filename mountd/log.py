"""The log: one line a record, with nothing secret in it.

    2026-07-01T12:00:00.123Z WARNING mountd.reading.fetcher  a.png: 503, asked again in 0.4 s

`open_log` puts one handler on the logger of each of our packages, and a filter on that handler: whatever a record's
text, arguments or traceback hold, a signature or key in it is replaced before it is written. Modules log with
`logging.getLogger(__name__)` and never configure anything.

Invariants: one record is one line (a traceback, in debug only, follows indented); `redact` never makes a text longer
than its secret was, and changes nothing in a text without one.
"""

import logging
import re
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO

PACKAGES: Final = ("mountd", "runtime")
HIDDEN: Final = "***"

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
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        text = record.getMessage().replace("\n", "\\n").replace("\r", "\\r")
        line = f"{when}.{int(record.msecs):03d}Z {record.levelname} {record.name}  {text}"
        if record.exc_info and record.exc_info[1] is not None:
            return line + self._failure(record)
        return line

    def _failure(self, record: logging.LogRecord) -> str:
        if record.exc_info is None or record.exc_info[1] is None:
            return ""
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            trace = redact(self.formatException(record.exc_info))
            return "\n" + "\n".join("    " + line for line in trace.splitlines())
        error = record.exc_info[1]
        return redact(f" ({type(error).__name__}: {error})").replace("\n", "\\n")


def open_log(level: str, stream: TextIO) -> logging.Handler:
    """Send records of `level` ('debug', 'info', 'warning', 'error') and above to `stream`; return the handler.

    A second call replaces the first one's handler: there is one log a process.
    """
    return _install(level, logging.StreamHandler(stream))


def open_log_file(level: str, path: Path, limit_bytes: int) -> logging.Handler:
    """As `open_log`, to a file that starts anew when it is `limit_bytes` long; the one before is kept as `NAME.1`."""
    return _install(
        level,
        RotatingFileHandler(path, maxBytes=limit_bytes, backupCount=1, encoding="utf-8", errors="backslashreplace"),
    )


def _install(level: str, handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(LineFormatter())
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
