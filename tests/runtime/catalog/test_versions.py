"""The catalog: versions count without a gap, and rows are whole or absent."""

import threading

import pytest

from runtime.catalog import check_name, open_catalog
from runtime.errors import AlreadyRegisteredError, UnknownNameError, UserErrorException
from runtime.workspace import WorkspaceFolder
from tests.runtime.catalog.catalogs import digest


def test_a_registered_version_reads_back_by_name_and_id(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        made = catalog.register("digits", "{}", digest(1), 3, 1 << 40, "of 1797", {"split": "all"})
    with open_catalog(workspace) as catalog:
        assert catalog.get("digits") == catalog.get("digits", 1) == catalog.get("digits", "1") == made
        assert catalog.get_by_id(made.id) == made
    assert (made.version, made.size_bytes, made.description, made.tags) == (1, 1 << 40, "of 1797", {"split": "all"})
    assert made.created.utcoffset() is not None


def test_a_name_that_exists_needs_create_new_version(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
        with pytest.raises(UserErrorException, match=r"create_new_version=True .*--new-version") as caught:
            catalog.register("digits", "{}", digest(2), 1, 1)
        assert not isinstance(caught.value, AlreadyRegisteredError)
        assert catalog.register("digits", "{}", digest(2), 1, 1, create_new_version=True).version == 2
        assert [record.version for record in catalog.versions("digits")] == [1, 2]
        assert [(record.name, record.version) for record in catalog.list()] == [("digits", 2)]


@pytest.mark.parametrize("create_new_version", [False, True])
def test_the_same_definition_and_digest_name_the_version_that_is_it(
    workspace: WorkspaceFolder,
    create_new_version: bool,  # noqa: FBT001 # a parameter of the test
) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
        catalog.register("digits", "{}", digest(2), 1, 1, create_new_version=True)
        with pytest.raises(AlreadyRegisteredError, match="'digits' version 1") as caught:
            catalog.register("digits", "{}", digest(1), 1, 1, create_new_version=create_new_version)
        assert (caught.value.name, caught.value.version) == ("digits", 1)
        assert catalog.register("other", "{}", digest(1), 1, 1).version == 1


def test_unknown_names_versions_and_ids_say_what_there_is(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("digits", "{}", digest(1), 1, 1)
        with pytest.raises(UnknownNameError, match=r"no dataset 'digit' .*did you mean 'digits'"):
            catalog.get("digit")
        with pytest.raises(UnknownNameError, match="no version 7; its latest is 1"):
            catalog.get("digits", 7)
        with pytest.raises(UnknownNameError, match="no dataset with the id"):
            catalog.get_by_id("nothing")
        for version in ("two", "", -1, 10**20, "99999999999"):
            with pytest.raises(UserErrorException, match=f"{version!r} is no version"):
                catalog.get("digits", version)
        for name in ("\udcff", "a\0b", "a:b", "x" * 300):
            for ask in (catalog.get, catalog.unregister, lambda name: catalog.rename(name, "x")):
                with pytest.raises(UnknownNameError, match="is no name for a dataset"):
                    ask(name)
            assert list(catalog.list(run_id=name)) == []
        with pytest.raises(UnknownNameError, match="no dataset with the id"):
            catalog.get_by_id("\udcff")


def test_an_unnamed_dataset_is_saved_once_and_listed_never(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        first, again, other = (catalog.save("{}", digest(number), 1, 1) for number in (1, 1, 2))
        assert first.id == again.id != other.id
        assert (first.name, first.version) == ("", 0)
        assert catalog.get_by_id(first.id).digest == digest(1)
        assert list(catalog.list()) == []


@pytest.mark.parametrize("name", ["", " a", "a@1", "a:b", "a/b", "a\nb", "x" * 256, "a=b"])
def test_a_name_that_the_command_line_could_not_say_is_refused(name: str) -> None:
    with pytest.raises(UserErrorException, match="no name for a dataset"):
        check_name(name)


def test_tags_that_are_no_text_are_refused_before_anything_is_written(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        with pytest.raises(UserErrorException, match="tag 'n': 3"):
            catalog.register("digits", "{}", digest(1), 1, 1, tags={"n": 3})  # type: ignore[dict-item] # the point
        assert list(catalog.list()) == []


def test_two_threads_that_register_at_once_get_different_versions(workspace: WorkspaceFolder) -> None:
    versions: list[int] = []
    barrier = threading.Barrier(8)

    def register(number: int) -> None:
        barrier.wait(timeout=20)
        with open_catalog(workspace) as catalog:
            versions.append(catalog.register("digits", "{}", digest(number), 1, 1, create_new_version=True).version)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(1, 9))


@pytest.mark.parametrize("text", ["a\0b", "\udcff", "x" * 70_000])
def test_a_text_that_no_database_could_keep_is_refused_before_anything_is_written(
    workspace: WorkspaceFolder, text: str
) -> None:
    with open_catalog(workspace) as catalog:
        with pytest.raises(UserErrorException, match="the description"):
            catalog.register("digits", "{}", digest(1), 1, 1, text)
        if "\0" not in text:
            with pytest.raises(UserErrorException, match="tag"):
                catalog.register("digits", "{}", digest(1), 1, 1, tags={"k": text})
        assert list(catalog.list()) == []


def test_the_list_goes_through_every_filter(workspace: WorkspaceFolder) -> None:
    with open_catalog(workspace) as catalog:
        catalog.register("train-a", "{}", digest(1), 1, 1, tags={"kind": "train", "old": ""})
        catalog.register("train-a", "{}", digest(2), 1, 1, tags={"kind": "train"}, create_new_version=True)
        catalog.register("test-a", "{}", digest(3), 1, 1, tags={"kind": "test"})
        catalog.save("{}", digest(4), 1, 1)

        def listed(*arguments: object, all_versions: bool = False) -> list[tuple[str, int]]:
            return [
                (each.name, each.version)
                for each in catalog.list(*arguments, all_versions=all_versions)  # type: ignore[arg-type] # by place
            ]

        assert listed() == [("test-a", 1), ("train-a", 2)]
        assert listed(all_versions=True) == [("test-a", 1), ("train-a", 1), ("train-a", 2)]
        assert listed("train-*") == [("train-a", 2)]
        assert listed("*", {"kind": "test"}) == [("test-a", 1)]
        assert listed("*", {"kind": None, "old": None}) == []  # the latest version has it no more
        assert listed("*", {"kind": None, "old": ""}, all_versions=True) == [("train-a", 1)]
