"""Keyvault: v1's face of the secrets of a workspace's users; they are in the operating system's keyring."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runtime.datastores import vault
from runtime.errors import UnknownNameError

if TYPE_CHECKING:
    from runtime.api.workspace import Workspace


class Keyvault:
    """The secrets of a workspace.

    Raises:
        UserErrorException: from every method that needs a keyring, where there is none.
    """

    def __init__(self, workspace: "Workspace") -> None:
        self._folder = workspace.folder

    def set_secret(self, name: str, value: str) -> None:
        """Keep one."""
        vault.put(self._folder, name, value)

    def set_secrets(self, secrets_batch: Mapping[str, str]) -> None:
        """Keep several."""
        for name, value in secrets_batch.items():
            self.set_secret(name, value)

    def get_secret(self, name: str) -> str:
        """One's value; UnknownNameError if there is none."""
        return vault.get(self._folder, name)

    def get_secrets(self, secrets: Sequence[str]) -> dict[str, str | None]:
        """The values of several; None where there is none."""
        found: dict[str, str | None] = {}
        for name in secrets:
            try:
                found[name] = self.get_secret(name)
            except UnknownNameError:
                found[name] = None
        return found

    def list_secrets(self) -> list[dict[str, str]]:
        """Their names, without values."""
        return [{"name": name} for name in vault.names(self._folder)]

    def delete_secret(self, name: str) -> None:
        """Forget one."""
        vault.remove(self._folder, name)

    def delete_secrets(self, secrets_batch: Sequence[str]) -> None:
        """Forget several."""
        for name in secrets_batch:
            self.delete_secret(name)
