"""doctor, config: what this machine can do, and what is set."""

import json
from dataclasses import asdict

import click

from mountd import config as settings
from mountd.cli.data import credential_option
from mountd.cli.findings import Check, Finding, examine, failed
from mountd.cli.machine_checks import machine_checks
from mountd.cli.store_checks import credential_checks, source_checks
from mountd.errors import MountdError
from mountd.stores.credentials import Credential


@click.command()
@click.argument("source", required=False)
@click.option("--json", "as_json", is_flag=True, help="One list of objects, for programs.")
@credential_option
@click.pass_context
def doctor(context: click.Context, /, source: str | None, *, as_json: bool, credential: Credential | None) -> int:
    """Check what mounting needs; each line is ok, warn or fail, with what to do.

    With SOURCE (a manifest or URL) also whether its store can be reached, and how fast. Nothing takes longer than 15 s. The
    exit code is that of the first line that says fail.
    """
    told = context.get_parameter_source("credential")
    origin = "--credential" if told is click.core.ParameterSource.COMMANDLINE else "the environment"
    findings: list[Finding] = []
    for finding in examine([*machine_checks(), *credential_checks(credential, origin), *_of(source, credential)]):
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.verdict:4}  {' '.join(finding.text.splitlines())}")
    if as_json:
        rows = [{name: value for name, value in asdict(each).items() if name != "code"} for each in findings]
        click.echo(json.dumps(rows, indent=2))
    return next((each.code for each in findings if each.verdict == "fail"), 0)


def _of(source: str | None, credential: Credential | None) -> list[Check]:
    if source is None:
        return []
    try:
        return source_checks(source, credential)
    except MountdError as error:
        finding = failed("source", error)
        return [Check("source", 1, lambda: [finding])]


@click.command()
def config() -> None:
    """Every setting, its value, and where the value came from."""
    for name, value, origin, text in settings.describe(settings.load()):
        click.echo(f"{name:14} {value:24} {origin:32} {text}")
