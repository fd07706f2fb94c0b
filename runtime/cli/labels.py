"""The commands about labels: `moorage labels convert` and `moorage labels check`. Neither needs a workspace."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.cli.printing import json_option, print_one, print_rows
from runtime.cli.progress import counted

if TYPE_CHECKING:
    from runtime.labels.checking import Report
    from runtime.labels.reading import Source

_FORMATS = ("jsonl", "coco", "csv", "conll", "label-studio")
_ENDINGS = {".jsonl": "jsonl", ".csv": "csv", ".conll": "conll", ".json": "coco"}
_TASKS = (
    "ImageClassification",
    "ImageMultiLabelClassification",
    "ObjectDetection",
    "InstanceSegmentation",
    "TextClassification",
    "TextMultiLabelClassification",
    "TextNamedEntities",
)
_FORMAT = click.Choice(_FORMATS)


@click.group(short_help="What people said of images and texts.")
def labels() -> None:
    """What people said of images and texts, in the formats of several tools."""


_task = click.option("--task", type=click.Choice(_TASKS), help="What the labels are of; else what the first ones are.")
_boxes = click.option(
    "--boxes", type=click.Choice(("pixels", "normalised")), help="How SOURCE, if COCO, has its boxes."
)
_images = click.option(
    "--images", type=click.Path(exists=True, file_okay=False, path_type=Path), help="The images' folder, to read sizes."
)
_classes = click.option("--class", "classes", multiple=True, metavar="NAME", help="A class that may be; several times.")


@labels.command("convert")
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from", "source_form", type=_FORMAT, help="SOURCE's format; else by its ending (.json is coco).")
@click.option("--to", "target_form", type=_FORMAT, help="TARGET's format, in the same way.")
@_task
@_boxes
@_images
@_classes
@click.option("--datastore", default="", help="Where images lie whose SOURCE names no datastore.")
@click.option("--skip-bad", is_flag=True, help="Leave out, and count, items that are wrong.")
@click.option("--overwrite", is_flag=True, help="Replace TARGET.")
@json_option
def convert_labels(  # noqa: PLR0917 # click's
    source: Path,
    target: Path,
    source_form: str | None,
    target_form: str | None,
    task: str | None,
    boxes: str | None,
    images: Path | None,
    classes: Sequence[str],
    datastore: str,
    skip_bad: bool,  # noqa: FBT001 # click's
    overwrite: bool,  # noqa: FBT001 # click's
    as_json: bool,  # noqa: FBT001 # click's
) -> None:
    """Write the labels of SOURCE as TARGET in another format. TARGET is written whole, or not at all."""
    from runtime.labels.converting import Target, convert
    from runtime.labels.reading import Format

    read = _source(source, source_form, task, boxes, images, classes)
    written = Target(target, Format(_form(target, target_form, "--to")), datastore, overwrite)
    with counted("converting") as progress:
        tally = convert(read, written, skip_bad=skip_bad, progress=progress)
    if as_json:
        print_one({"items": tally.items, "skipped": tally.skipped, "first_skipped": tally.told}, as_json=True)
        return
    for line in tally.told:
        click.echo(f"moorage: left out: {line}", err=True)
    click.echo(f"{target}: {tally.items} items" + (f", {tally.skipped} left out" if tally.skipped else ""))


@labels.command("check")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from", "form", type=_FORMAT, help="FILE's format; else by its ending (.json is coco).")
@_task
@_boxes
@_images
@_classes
@json_option
def check_labels(
    file: Path,
    form: str | None,
    task: str | None,
    boxes: str | None,
    images: Path | None,
    classes: Sequence[str],
    as_json: bool,  # noqa: FBT001 # click's
) -> int:
    """List what is wrong in FILE, and how many labels each class has; exit code 3 if anything is wrong."""
    from runtime.labels.checking import check

    report = check(_source(file, form, task, boxes, images, classes))
    balance = _balance(report)
    findings = [{"kind": each.kind, "where": each.where, "what": each.what} for each in report.findings]
    if as_json:
        summary = {"task": str(report.task), "items": report.items, "unlabelled": report.unlabelled}
        print_one(summary | {"classes": balance, "wrong": dict(report.kinds), "findings": findings}, as_json=True)
        return 3 if findings else 0
    click.echo(f"{file}: {report.task}, {report.items} items, {report.unlabelled} without a label\n")
    print_rows(balance, as_json=False)
    if findings:
        click.echo("")
        print_rows(findings, as_json=False)
        click.echo("\n" + ", ".join(f"{kind}: {count}" for kind, count in report.kinds.most_common()))
    return 3 if findings else 0


def _balance(report: "Report") -> list[dict[str, object]]:
    total = report.labels.total()
    return [
        {"class": name, "labels": count, "items": report.items_with[name], "share": f"{count / total:.1%}"}
        for name, count in sorted(report.labels.items(), key=lambda each: (-each[1], each[0]))
    ]


def _source(
    path: Path, form: str | None, task: str | None, boxes: str | None, images: Path | None, classes: Sequence[str]
) -> "Source":
    from runtime.labels.reading import Format, Source
    from runtime.labels.values import Task

    found = Format(_form(path, form, "--from"))
    known = frozenset(classes) if classes else None
    return Source(path, found, Task(task) if task else None, known, boxes or "auto", images)


def _form(path: Path, form: str | None, option: str) -> str:
    found = form or _ENDINGS.get(path.suffix.lower())
    if found is None:
        raise click.UsageError(f"{path}: its ending names no format; say it with {option}")
    return found
