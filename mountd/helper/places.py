"""The places that a helper may open: by name for lists and uploads, by URL for the sources of a dataset.

A credential is chosen by the place that is asked for and never told to whoever asks. A source that lies at or below no
granted place is opened without any: what everybody may read is no secret.

The lock protects the table of grants and the credentials that were looked up; nothing is looked up under it.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from mountd.contract.helping import Grant
from mountd.dataset.manifest import ManifestSummary
from mountd.download import Downloaded, download
from mountd.errors import AccessDeniedError, BadInputError, NotFoundError
from mountd.freeze import FreezeSource, freeze
from mountd.stores import registry
from mountd.stores.base import ObjectInfo
from mountd.stores.credentials import Credential
from mountd.stores.credentials.origins import from_option
from mountd.uploading.uploader import Uploaded, upload


class Places:
    """The grants of one helper."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._lock = threading.Lock()
        self._grants: dict[tuple[str, str], Grant] = {}
        self._found: dict[tuple[str, str], Credential] = {}
        self.add(grants)

    def add(self, grants: Iterable[Grant]) -> None:
        """Open these, too; one of the same name and URL is replaced."""
        with self._lock:
            for grant in grants:
                self._grants[grant.name.lower(), grant.url] = grant
                self._found.pop((grant.name.lower(), grant.url), None)

    def credentials_for(self, urls: Sequence[str]) -> Mapping[str, Credential]:
        """The credential of the nearest place at or above each URL, for those that take and have one."""
        with self._lock:
            grants = sorted(self._grants.values(), key=lambda each: (len(each.url), not each.name))
        found: dict[str, Credential] = {}
        for url in urls:
            above = [grant for grant in grants if url.startswith(grant.url)]
            if above and registry.takes_credentials(url):
                credential = self._credential(above[-1])
                if credential is not None:
                    found[url] = credential
        return found

    def list(self, datastore: str, prefix: str) -> Iterator[ObjectInfo]:
        """What is in a datastore now; errors as the store's."""
        grant = self._named(datastore)
        return registry.open_lister(grant.url, self._credential(grant)).list(prefix)

    def upload(self, datastore: str, prefix: str, files: Sequence[tuple[Path, str]], *, overwrite: bool) -> Uploaded:
        """Store files below `prefix`, all of them or none; errors as the uploader's."""
        grant = self._named(datastore)
        _check_absolute(path for path, _ in files)
        credential = self._credential(grant)
        writer, lister = registry.open_writer(grant.url, credential), registry.open_lister(grant.url, credential)
        return upload(files, writer, lister, prefix=prefix, overwrite=overwrite)

    def download(self, manifest: Path, sources: Sequence[str], target: Path, *, overwrite: bool) -> Downloaded:
        """Bring a dataset into a folder; errors as the download's."""
        _check_absolute([manifest, target])
        return download(manifest, target, credentials=self.credentials_for(sources), overwrite=overwrite)

    def freeze(self, sources: Sequence[tuple[str, str, str]], target: Path) -> ManifestSummary:
        """List (url, pattern, under) into the manifest `target`; errors as the freeze's."""
        _check_absolute([target])
        found = self.credentials_for([url for url, _, _ in sources])
        return freeze([FreezeSource(url, found.get(url), pattern, under) for url, pattern, under in sources], target)

    def _named(self, name: str) -> Grant:
        with self._lock:
            known = {each: grant for (each, _), grant in self._grants.items() if each}
        if name.lower() not in known:
            raise NotFoundError(f"no datastore '{name}' here, only: {', '.join(sorted(known)) or 'none'}")
        return known[name.lower()]

    def _credential(self, grant: Grant) -> Credential | None:
        if grant.refusal:
            raise AccessDeniedError(grant.refusal)
        if not grant.reference:
            return grant.credential
        key = (grant.name.lower(), grant.url)
        with self._lock:
            found = self._found.get(key)
        if found is None:
            found = from_option(grant.reference, {})
            with self._lock:
                self._found[key] = found
        return found


def _check_absolute(paths: Iterable[Path]) -> None:
    for path in paths:
        if not path.is_absolute():
            raise BadInputError(f"{path}: a helper takes absolute paths")
