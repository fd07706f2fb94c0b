"""The catalog's names against the plainest Python: whatever is registered, renamed and unregistered, in any order."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.catalog import open_catalog
from runtime.catalog.sql import Catalog
from runtime.errors import AlreadyRegisteredError, UnknownNameError, UserErrorException
from runtime.workspace import init
from tests.runtime.catalog.catalogs import digest

_NAMES = st.sampled_from(["a", "b", "c"])
_STEPS = st.one_of(
    st.tuples(st.just("register"), _NAMES, st.integers(1, 4)),
    st.tuples(st.just("rename"), _NAMES, _NAMES),
    st.tuples(st.just("unregister"), _NAMES, st.sampled_from([None, 1, 2, 3])),
)


@dataclass
class Model:
    """`now` has the id of each version that has a name, `ever` that of each number that was given."""

    now: dict[tuple[str, int], str] = field(default_factory=dict)
    ever: dict[tuple[str, int], str] = field(default_factory=dict)
    digests: dict[str, int] = field(default_factory=dict)

    def of(self, name: str) -> dict[int, str]:
        return {version: made for (owner, version), made in self.now.items() if owner == name}

    def register(self, catalog: Catalog, name: str, number: int) -> None:
        same = [version for version, made in self.of(name).items() if self.digests[made] == number]
        try:
            made = catalog.register(name, "{}", digest(number), 1, 1, create_new_version=True)
        except AlreadyRegisteredError as error:
            assert [error.version] == same  # noqa: PT017 # it may be raised, or not
            return
        assert not same
        assert made.version == 1 + max((version for owner, version in self.ever if owner == name), default=0)
        self.now[name, made.version] = self.ever[name, made.version] = made.id
        self.digests[made.id] = number

    def rename(self, catalog: Catalog, name: str, new_name: str) -> None:
        versions = self.of(name)
        other = any(self.ever.get((new_name, version), made) != made for version, made in versions.items())
        try:
            assert catalog.rename(name, new_name) == len(versions)
        except UnknownNameError:
            assert not versions
            return
        except UserErrorException:
            assert self.of(new_name) or other
            return
        assert versions
        assert not self.of(new_name)
        for version, made in versions.items():
            del self.now[name, version]
            self.now[new_name, version] = self.ever[new_name, version] = made

    def unregister(self, catalog: Catalog, name: str, version: int | None) -> None:
        gone = [each for each in self.of(name) if version in {None, each}]
        try:
            assert catalog.unregister(name, version) == len(gone)
        except UnknownNameError:
            assert not gone
        for each in gone:
            del self.now[name, each]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_STEPS, max_size=16))
def test_names_and_numbers_are_what_the_plainest_python_says(steps: list[tuple[str, str, object]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as folder, open_catalog(init(Path(folder) / ".moorage")) as catalog:
        for step, name, argument in steps:
            getattr(model, step)(catalog, name, argument)
        there = {(each.name, each.version): each.id for each in catalog.list(all_versions=True)}
        assert there == model.now
        for (name, version), made in model.ever.items():
            try:
                assert catalog.get(name, version).id == made  # one meaning for ever, or an error
            except UnknownNameError:
                assert (name, version) not in model.now
            assert catalog.get_by_id(made).digest == digest(model.digests[made])
