"""Secrets in the operating system's keyring, where there is one.

The library `keyring` (an extra) finds it: the Secret Service of a desktop, KWallet, the macOS keychain, the Windows vault. A
backend that keeps nothing, or that its own library does not recommend (a plain file), is none. Each secret is an item of its
own under a name drawn at random, so that a datastore that is replaced keeps its old secret until the new one is in place.

Where there is no keyring the caller keeps the secret in the workspace's file, mode 0600.
"""

import contextlib
import logging
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mountd.errors import AccessDeniedError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

SERVICE: Final = "moorage"
_LOG = logging.getLogger(__name__)


def keep(folder: Path, name: str, secret: str, otherwise: str = "it is kept in a file instead") -> str:
    """Keep the secret of the datastore `name` in the workspace `folder`; the item's name, '' where there is no keyring.

    `otherwise` is what the caller does then; a keyring that refuses is told with it.
    """
    backend = _backend()
    if backend is None:
        return ""
    item = f"{folder}:{name}:{secrets.token_hex(4)}"
    try:
        backend.set_password(SERVICE, item, secret)
    except Exception as error:  # noqa: BLE001  # each backend has exceptions of its own
        _LOG.warning("the keyring refuses a secret (%s); %s", type(error).__name__, otherwise)
        return ""
    return item


def fetch(item: str, name: str) -> str:
    """The secret that is kept as `item`, of the datastore `name`.

    Raises:
        AccessDeniedError: the keyring is not there, is locked, or has lost it.
    """
    backend, found, why = _backend(), None, "has no such item"
    if backend is None:
        why = "is not to be found here"
    else:
        try:
            found = backend.get_password(SERVICE, item)
        except Exception as error:  # noqa: BLE001  # as above
            why = f"refuses ({type(error).__name__})"
    if found is None:
        raise AccessDeniedError(
            f"datastore '{name}': its secret is in the keyring, which {why}; unlock it, or add the datastore again with "
            "--credential file:PATH"
        )
    return found


def forget(item: str) -> None:
    """Remove the item, if it can be."""
    backend = _backend()
    if backend is not None:
        with contextlib.suppress(Exception):  # it is gone, or the keyring is locked: nobody is helped by an error
            backend.delete_password(SERVICE, item)


def _backend() -> "KeyringBackend | None":
    try:
        import keyring
        from keyring.backends.chainer import ChainerBackend
    except ImportError:
        return None
    found = keyring.get_keyring()
    candidates = found.backends if isinstance(found, ChainerBackend) else [found]
    return next((each for each in candidates if _is_real(each)), None)


def _is_real(backend: "KeyringBackend") -> bool:
    """Whether its own library recommends it; what keeps nothing, and plain files, have a priority below 1."""
    try:
        return float(backend.priority) >= 1
    except Exception:  # noqa: BLE001  # a backend that cannot work here says so by any exception
        return False
