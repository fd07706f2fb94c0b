"""Names, numbers and tags: a number means one thing for ever, and what people write may change."""

import pytest

from runtime.catalog import open_catalog
from runtime.errors import UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder
from tests.runtime.catalog.catalogs import digest


def test_a_description_and_tags_change_for_one_version(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        first = catalog.register("digits", "{}", digest(1), 1, 1, "one", {"a": "1"})
        second = catalog.register("digits", "{}", digest(2), 1, 1, "two", {"a": "2"}, create_new_version=True)
        changed = catalog.change(first.id, "first", lambda tags: {**tags, "b": "3"})
        assert (changed.description, changed.tags) == ("first", {"a": "1", "b": "3"})
        assert catalog.change(first.id, "") == catalog.get("digits", 1)
        assert (catalog.get("digits", 1).description, catalog.get("digits", 1).tags) == ("", {"a": "1", "b": "3"})
        assert catalog.get("digits", 2) == second
        assert (changed.digest, changed.created, changed.version) == (first.digest, first.created, 1)


def test_a_change_that_is_refused_changes_nothing(workspace: WorkspaceFolder) -> None:
    def refuse(_: object) -> dict[str, str]:
        raise UserErrorException("no")

    with open_catalog(workspace) as catalog:
        made = catalog.register("digits", "{}", digest(1), 1, 1, "one", {"a": "1"})
        with pytest.raises(UserErrorException, match="no"):
            catalog.change(made.id, "two", refuse)
        with pytest.raises(UserErrorException, match="is not text"):
            catalog.change(made.id, "two", lambda _: {"n": 3})  # type: ignore[dict-item] # the point
        with pytest.raises(UnknownNameError, match="no dataset with the id 'nothing'"):
            catalog.change("nothing", "two")
        assert catalog.get("digits") == made


def test_a_rename_takes_all_versions_along_and_the_old_name_says_so(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        for number in (1, 2):
            catalog.register("digits", "{}", digest(number), 1, 1, create_new_version=True)
        assert catalog.rename("digits", "numerals") == 2
        assert [each.version for each in catalog.versions("numerals")] == [1, 2]
        with pytest.raises(UnknownNameError, match="'digits' version 2 is 'numerals@2' now"):
            catalog.get("digits")
        with pytest.raises(UnknownNameError, match="'digits' version 1 is 'numerals@1' now"):
            catalog.get("digits", 1)
        with pytest.raises(UnknownNameError, match="'digits'"):
            catalog.rename("digits", "other")
        assert catalog.rename("numerals", "digits") == 2  # whoever mistyped may go back
        assert [each.name for each in catalog.list()] == ["digits"]
        assert catalog.register("digits", "{}", digest(3), 1, 1, create_new_version=True).version == 3


def test_a_rename_to_a_name_in_use_or_no_name_is_refused(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("a", "{}", digest(1), 1, 1)
        catalog.register("b", "{}", digest(2), 1, 1)
        before = catalog.list()
        for name, said in (("b", "'b' exists already"), ("a", "'a' exists already"), ("a@1", "no name for a dataset")):
            with pytest.raises(UserErrorException, match=said):
                catalog.rename("a", name)
        with pytest.raises(UnknownNameError, match="no dataset 'c'"):
            catalog.rename("c", "d")
        assert catalog.list() == before


def test_an_unregistered_dataset_keeps_its_id_and_its_numbers_never_come_again(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        made = [catalog.register("digits", "{}", digest(n), 1, 1, create_new_version=True) for n in (1, 2, 3)]
        assert catalog.unregister("digits", 2) == 1
        assert [each.version for each in catalog.versions("digits")] == [1, 3]
        with pytest.raises(UnknownNameError, match=f"'digits' version 2 was unregistered; its id {made[1].id}"):
            catalog.get("digits", 2)
        with pytest.raises(UnknownNameError, match="version 2 was unregistered"):
            catalog.unregister("digits", 2)
        assert catalog.unregister("digits") == 2
        assert list(catalog.list()) == []
        assert (catalog.get_by_id(made[2].id).name, catalog.get_by_id(made[2].id).version) == ("", 0)
        with pytest.raises(UnknownNameError, match="'digits' version 3 was unregistered"):
            catalog.get("digits")
        assert catalog.register("digits", "{}", digest(1), 1, 1).version == 4


def test_a_number_that_meant_another_dataset_is_not_given_by_a_rename(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("old", "{}", digest(1), 1, 1)
        catalog.unregister("old")
        catalog.register("new", "{}", digest(2), 1, 1)
        with pytest.raises(UserErrorException, match="'old@1' was another dataset"):
            catalog.rename("new", "old")
        assert catalog.get("new").version == 1
