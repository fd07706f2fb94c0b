"""The main job from end to end, by the commands a user types: see `make demo`.

    python examples/digits/demo.py [--store local|azurite] [--mode mount|download]

It prepares images, makes a workspace, a datastore and the dataset `digits` below .demo/, runs train.py on it through
`moorage run`, and prints what was read and fetched, and how well the model does. Every `moorage` command is shown as it
runs. With azurite the job runs twice: the second one finds everything in the cache.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
TRAIN = Path("examples/digits/train.py")
LEAST_ACCURACY = 0.95
console = Console() if sys.stdout.isatty() else Console(width=120)  # a file or pipe has room for the table


@dataclass(frozen=True, slots=True)
class Result:
    """One finished job, as the table shows it."""

    mode: str
    files: int
    bytes_read: int
    bytes_fetched: int
    cache_hits: int
    seconds_reading: float
    seconds_training: float
    accuracy: float


class Demo:
    """A fresh workspace below .demo/ and the commands in it."""

    def __init__(self, folder: Path, secrets: dict[str, str]) -> None:
        self.folder = folder
        places = {"MOORAGE_WORKSPACE": str(folder / ".moorage"), "MOORAGE_CACHE_DIR": str(folder / "cache")}
        self._environ = {**os.environ, **places, **secrets}
        self._moorage = Path(sys.executable).with_name("moorage")

    def moorage(self, *arguments: str) -> None:
        """Show a command and run it; its failure is ours."""
        shown = shlex.join(arguments).replace(shlex.quote(sys.executable), "python")
        console.print(f"[bold]$ moorage {shown}[/bold]", highlight=False, soft_wrap=True)
        done = subprocess.run([str(self._moorage), *arguments], cwd=ROOT, env=self._environ, check=False)
        if done.returncode:
            sys.exit(done.returncode)

    def ask(self, *arguments: str) -> Any:
        """What a command answers with --json."""
        command = [str(self._moorage), *arguments, "--json"]
        return json.loads(
            subprocess.run(command, cwd=ROOT, env=self._environ, check=True, stdout=subprocess.PIPE).stdout
        )

    def job(self, mode: str) -> Result:
        """Train once, and tell what was read, fetched and learnt."""
        self.moorage(
            *("run", "--input", f"digits=digits@1:{mode}"),
            *("--output", "model=demo/models/{run-id}:upload:register=digits-model"),
            *("--", sys.executable, str(TRAIN), "--data", "{inputs.digits}", "--out", "{outputs.model}"),
        )
        run = self.ask("runs", "show", self.ask("runs", "list")[-1]["id"])
        model = self.ask("dataset", "show", "digits-model")
        kept = self.folder / f"digits-model-{model['version']}"
        self.moorage("dataset", "download", f"digits-model@{model['version']}", str(kept.relative_to(ROOT)))
        metrics = json.loads((kept / "metrics.json").read_text())
        (digits,) = run["inputs"]
        fetched = digits["counters"].get("fetch", {}).get("bytes", 0)
        hits = digits["counters"].get("cache", {}).get("hits", 0)
        return Result(mode=digits["mode"], bytes_fetched=fetched, cache_hits=hits, **metrics)


@contextmanager
def bar(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that stays as a line when it is done."""
    with Progress(
        TextColumn(f"{what:<29}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), console=console
    ) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def make_images(folder: Path) -> None:
    """Write the images."""
    from prepare import prepare  # beside this file

    with bar("making images", "files") as report:
        count = prepare(folder)
        report(count, count)


def put_images(folder: Path, container_url: str, connection_string: str) -> None:
    """Put the images into the container, below digits/."""
    from mountd.stores.credentials import Credential
    from mountd.stores.registry import open_lister, open_writer
    from mountd.uploading.uploader import upload

    base, credential = container_url + "digits/", Credential("connection_string", connection_string)
    files = [(path, path.relative_to(folder).as_posix()) for path in sorted(folder.glob("*/*.png"))]
    with bar("putting them into a container", "bytes") as report:
        upload(files, open_writer(base, credential), open_lister(base, credential), progress=report)


def table(results: list[Result]) -> Table:
    """The short table at the end; numbers as plain as they can be."""
    shown = Table(title="digits", title_justify="left")
    for heading in (
        *("job", "files", "bytes read", "bytes fetched", "cache hits"),
        *("seconds reading", "seconds training", "accuracy"),
    ):
        shown.add_column(heading, justify="left" if heading == "job" else "right")
    for number, each in enumerate(results, 1):
        counts = (each.files, each.bytes_read, each.bytes_fetched, each.cache_hits)
        times = (f"{each.seconds_reading:.2f}", f"{each.seconds_training:.2f}", f"{each.accuracy:.4f}")
        shown.add_row(f"{number} {each.mode}", *(f"{count:,}" for count in counts), *times)
    return shown


def verdict(results: list[Result], *, twice: bool) -> str | None:
    """What is wrong with the results, if anything is."""
    if any(each.accuracy < LEAST_ACCURACY for each in results):
        return f"the accuracy is below {LEAST_ACCURACY}"
    if any(each.files != 1797 or not each.bytes_read for each in results):
        return "not all 1797 images were read"
    if twice and results[-1].mode == "mount" and results[-1].bytes_fetched:
        return f"the second job fetched {results[-1].bytes_fetched} bytes; all of them should have been in the cache"
    return None


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Train on a mounted dataset, from end to end.")
    parser.add_argument("--store", choices=["local", "azurite"], default="local")
    parser.add_argument("--mode", choices=["mount", "download"], default="mount")
    options = parser.parse_args()
    twice = options.store == "azurite"
    folder = ROOT / ".demo" / f"{options.store}-{options.mode}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    with azurite() if twice else nullcontext() as server:
        results = tell_the_story(folder, server, options.mode, jobs=2 if twice else 1)
    console.print(table(results))
    if problem := verdict(results, twice=twice):
        sys.exit(f"demo: {problem}")


def azurite() -> Any:
    """The server that the tests use, too."""
    sys.path.insert(0, str(ROOT))
    from tests.support.azurite import Azurite

    return Azurite.start()


def tell_the_story(folder: Path, server: Any, mode: str, *, jobs: int) -> list[Result]:
    """Datastore, dataset, jobs."""
    secret = "AZURE_STORAGE_CONNECTION_STRING"  # noqa: S105 - the name of a variable
    demo = Demo(folder, {secret: server.connection_string} if server else {})
    if server:
        make_images(folder / "images")
        url = server.make_container("demo")
        put_images(folder / "images", url, server.connection_string)
        place = [url, "--credential", f"env:{secret}"]
    else:
        make_images(folder / "datastore" / "digits")
        place = [(folder / "datastore").as_uri()]
    demo.moorage("init")
    demo.moorage("datastore", "add", "demo", *place)
    demo.moorage("dataset", "register", "digits", "demo/digits")
    return [demo.job(mode) for _ in range(jobs)]


if __name__ == "__main__":
    main()
