"""v1's variables as settings of ours."""

import logging
from pathlib import Path

import pytest

from mountd import config
from runtime.datasets import tuning
from runtime.errors import UserErrorException


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {}),
        ({"DATASET_MOUNT_CACHE_SIZE": "40 GB"}, {"cache_size": "40000000000"}),
        ({"DATASET_MOUNT_CACHE_SIZE": "-1GiB"}, {"cache_size": "-1073741824"}),
        ({"DATASET_MOUNT_CACHE_SIZE": "Unlimited", "DATASET_RESERVED_FREE_DISK_SPACE": "150"}, {"cache_size": "-150"}),
        ({"DATASET_MOUNT_CACHE_SIZE": "7", "DATASET_RESERVED_FREE_DISK_SPACE": "150"}, {"cache_size": "7"}),
        ({"AZ_BATCH_RESERVED_DISK_SPACE_BYTES": "1"}, {"cache_size": "-104857601"}),
        ({"DATASET_MOUNT_CACHE_SIZE": "7", "MOORAGE_CACHE_SIZE": "8"}, {}),
        ({"DATASET_MOUNT_MEMORY_CACHE_SIZE": "0"}, {}),
        ({"DATASET_MOUNT_MEMORY_CACHE_SIZE": "1"}, {"memory": "4194304"}),
        ({"DATASET_MOUNT_BLOCK_FILE_CACHE_ENABLED": "False"}, {"cache": "off"}),
        ({"DATASET_MOUNT_BLOCK_FILE_CACHE_ENABLED": "true"}, {}),
        ({"DATASET_FUSE_MAX_READAHEAD": "1"}, {"read_ahead": "4096"}),
        ({"DATASET_MOUNT_READ_THREADS": "4", "AZUREML_DATASET_HTTP_RETRY_COUNT": "7", "DATASET_PATH": "/mine"}, {}),
    ],
)
def test_a_variable_becomes_a_setting_that_mountd_takes(environ: dict[str, str], expected: dict[str, str]) -> None:
    found = tuning.settings(environ)
    assert found == expected
    config.load(found, {})


def test_times_and_threads() -> None:
    assert tuning.unmount_timeout_s({}) == 30
    assert tuning.unmount_timeout_s({"DATASET_UNMOUNT_TIMEOUT_SECONDS": "2.5"}) == 2.5
    assert tuning.download({}) == {}
    assert tuning.download({"RSLEX_DOWNLOADER_THREADS": "4"}) == {"threads": 4}
    assert tuning.download({"RSLEX_DOWNLOADER_THREADS": "4000"}) == {"threads": 128}


@pytest.mark.parametrize("name", ["DATASET_MOUNT_CACHE_SIZE", "DATASET_MOUNT_MEMORY_CACHE_SIZE"])
def test_a_value_that_is_none_names_the_variable(name: str) -> None:
    with pytest.raises(UserErrorException, match=f"{name}: 'lots' is not a size"):
        tuning.settings({name: "lots"})
    for variable in ("DATASET_UNMOUNT_TIMEOUT_SECONDS", "RSLEX_DOWNLOADER_THREADS"):
        with pytest.raises(UserErrorException, match=f"{variable}: 'inf' is no number"):
            (tuning.unmount_timeout_s if "UNMOUNT" in variable else tuning.download)({variable: "inf"})


@pytest.mark.warns
def test_what_is_almost_a_variable_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            tuning.settings({"DATASET_MOUNT_CACHE_SISE": "1", "RSLEX_WHATEVER": "1", "DATASET_NAME": "mine"})
    assert [record.getMessage() for record in caplog.records] == [
        "DATASET_MOUNT_CACHE_SISE is set, and no variable of v1 is called so; did you mean DATASET_MOUNT_CACHE_SIZE?",
        "RSLEX_WHATEVER is set, and no variable of v1 is called so; docs/azureml-v1.md lists what is known",
    ]


def test_no_variable_stands_twice_and_each_says_what_it_does() -> None:
    names = [variable.name for variable in tuning.VARIABLES]
    assert len(set(names)) == len(names)
    known = {field.name for field in config.FIELDS}
    assert all(variable.meaning for variable in tuning.VARIABLES)
    assert {variable.setting for variable in tuning.VARIABLES} - {""} <= known


def test_the_page_tells_every_variable() -> None:
    page = (Path(__file__).parents[3] / "docs/azureml-v1.md").read_text("utf-8")
    _, _, section = page.partition("## Variables")
    assert [variable.name for variable in tuning.VARIABLES if f"`{variable.name}`" not in section] == []
