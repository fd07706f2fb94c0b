"""The URL map: prefixes of URLs that scripts name, and where their bytes are instead.

A TOML file, named by MOORAGE_URL_MAP: each key is the beginning of a URL, its value what stands in its place, itself a URL
or an absolute path. The longest key that fits counts. It is asked once, where a URL becomes a path of a dataset, and what
it said is part of the dataset's definition, so that lineage shows it and a dataset does not change with the map.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from runtime.errors import UserErrorException

VARIABLE = "MOORAGE_URL_MAP"


def mapped(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """What the map puts in the place of `url`; '' where it says nothing of it, or there is no map.

    Raises:
        UserErrorException: the map cannot be read, or holds something else.
    """
    if not (name := environ.get(VARIABLE)):
        return ""
    table = read_map(Path(name))
    prefix = max((each for each in table if url.startswith(each)), key=len, default=None)
    return "" if prefix is None else table[prefix] + url[len(prefix) :]


def read_map(path: Path) -> dict[str, str]:
    """The map in the file `path`; values are URLs.

    Raises:
        UserErrorException: names the file, and the key where one is wrong.
    """
    from mountd.stores.registry import file_url

    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserErrorException(f"{path}: not TOML ({error}); mend that line") from None
    except OSError as error:
        raise UserErrorException(f"{path}: {error.strerror}; {VARIABLE} or --url-map names it as the URL map") from None
    table: dict[str, str] = {}
    for prefix, target in document.items():
        if "://" not in prefix or not isinstance(target, str):
            raise UserErrorException(
                f'{path}: {prefix!r} is no beginning of a URL; write "https://host/data/" = "/copy/data/"'
            )
        if "://" not in target and not target.startswith("/"):
            raise UserErrorException(f"{path}: {target!r} is neither a URL nor an absolute path")
        is_url = "://" in target
        table[prefix] = target if is_url else file_url(Path(target)).rstrip("/") + "/" * target.endswith("/")
    return table
