"""``mandamus policy eval``"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mandamus.cli.render import document
from mandamus.cli.session import Session, common, pass_session
from mandamus.cli.verdict import EXITS, painted, show_explained, show_said
from mandamus.kernel import canonical, ids
from mandamus.kernel.attachment import Attached
from mandamus.kernel.errors import Code, Exit, MandamusError
from mandamus.kernel.ids import DecisionId
from mandamus.policy import explain, profiles, trial
from mandamus.policy.attribution import Attribution
from mandamus.policy.model import ROOT, Options, Point, RegoVersion
from mandamus.policy.pool import WorkerPool
from mandamus.policy.service import INPUT_BYTES_MAX

_SHORT = 12
_FILE_BYTES_MAX = 2 * INPUT_BYTES_MAX
"""White space is not counted in a decision's limit."""


@click.command("eval")
@click.argument("source", metavar="DIR|SET")
@click.option("--input", "file", metavar="FILE", help="The input document, a JSON file; - is standard input.")
@click.option("--decision", metavar="DECISION", help="The input that this decision was made on.")
@click.option("--point", type=click.Choice([point.value for point in Point]), help="Else the one the input names.")
@click.option(
    "--set",
    "edits",
    metavar="PATH=JSON",
    multiple=True,
    help="""What if: put a value into the input, such as 'change_set.changes[0].action="delete"'.""",
)
@click.option("--query", metavar="TERM", help="Print the value of a term such as data.lib.names instead.")
@click.option("--trace", is_flag=True, help="Also show which rules were tried, and where each failed.")
@click.option(
    "--profile",
    type=click.Choice(list(profiles.PROFILES)),
    default=ROOT,
    show_default=True,
    help="The convention that the files in DIR follow.",
)
@click.option(
    "--rego",
    type=click.Choice([version.value for version in RegoVersion]),
    default=RegoVersion.AUTO.value,
    show_default=True,
    help="Which Rego the files in DIR are written in; auto finds it out per file.",
)
@common
@pass_session
def command(
    session: Session,
    *,
    source: str,
    file: str | None,
    decision: str | None,
    point: str | None,
    edits: tuple[str, ...],
    query: str | None,
    trace: bool,
    profile: str,
    rego: str,
) -> Exit:
    """Evaluate a policy against an input; nothing is recorded.

    DIR is a policy directory or an OPA bundle that need not be published, SET the name or the digest of a published
    set. A folder with an input file needs no home. The set counts as hard-mandatory, and no exemption spares anything.
    Exit codes: 0 allow, 3 needs approval, 4 deny.

    \b
    Example:
      mandamus policy eval policies/base --decision DECISION --set 'change_set.changes[0].action="delete"'
    """  # noqa: D301 - \b keeps click from joining the lines
    if (file is None) is (decision is None):
        raise MandamusError(
            Code.USAGE, "there is not one input", remedy="name it with either --input FILE or --decision DECISION"
        )
    given = trial.edited(_file(file) if file is not None else _recorded(session, str(decision)), edits)
    if not isinstance(given, dict):
        raise MandamusError(Code.VALUE_INVALID, "the input is not a JSON object", remedy="give one, such as {}")
    with session.policy_engine() as pool:
        options = Options(profile=profile, rego=RegoVersion(rego))
        attribution = _attribution(session, pool, source, options)
        if query is not None:
            return _show_values(session, trial.value_of(pool, attribution, query, canonical.dumps(given)))
        return _judge(session, pool, attribution, _Asked(Path(source).name, given, point, trace))


@dataclass(frozen=True)
class _Asked:
    name: str
    document: Mapping[str, Any]
    point: str | None
    trace: bool


def _file(name: str) -> Any:
    try:
        with sys.stdin.buffer if name == "-" else Path(name).open("rb") as file:
            data = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise MandamusError(
            Code.USAGE, f"--input {name} cannot be read: {error.strerror}", remedy="name a JSON file, or - for stdin"
        ) from error
    if len(data) > _FILE_BYTES_MAX:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"--input {name} has more than {_FILE_BYTES_MAX >> 20} MiB",
            remedy="give a smaller input: a decision about it would be a deny",
        )
    try:
        value = canonical.loads(data)
        canonical.dumps(value)
    except MandamusError as error:
        raise MandamusError(error.code, f"--input {name}: {error.message}", remedy=error.remedy) from error
    return value


def _recorded(session: Session, decision: str) -> Any:
    id_ = DecisionId(ids.parse("dec", decision))
    with session.house() as house:
        verdict = house.policy.get(house.who, id_).verdict
    if not verdict.input:
        raise MandamusError(
            Code.VALUE_INVALID, f"{id_} was made without an input: {verdict.error}", remedy="choose another decision"
        )
    return canonical.loads(verdict.input)


def _attribution(session: Session, pool: WorkerPool, source: str, options: Options) -> Attribution:
    path = Path(source)
    if path.exists():
        return trial.of_folder(pool, path, options)
    with session.house() as house:
        for version in house.policy.versions(house.who):
            digest = version.digest.removeprefix("sha256:")
            if version.name == source or (len(source) >= _SHORT and digest.startswith(source.removeprefix("sha256:"))):
                return Attribution(house.policy.bundle(house.who, version.digest))
    raise MandamusError(
        Code.NOT_FOUND,
        f"there is neither a folder nor a published set {source!r}",
        remedy=f"`{session.command('policy', 'sets')}` lists the sets",
    )


def _judge(session: Session, pool: WorkerPool, attribution: Attribution, asked: _Asked) -> Exit:
    point = trial.point_of(attribution, asked.document, asked.point)
    data = trial.document_for(attribution, asked.document, point)
    attached = Attached(attribution.bundle.digest, name=asked.name)
    made = trial.judged(pool, attribution, attached, point, data)
    explained = explain.trace(pool, attribution, attached, point.value, data) if asked.trace else None
    if session.wants_json:
        told = {} if explained is None else {"explained": explained.to_json()}
        session.screen.json({**made.to_json(), "point": point.value, "set": attribution.bundle.digest, **told})
        return EXITS[made.outcome]
    screen, found = session.screen, made.found
    screen.data(f"{point.value}: ", painted(made.outcome), f": {made.error}" if made.error else "")
    show_said(
        screen,
        violations=found.violations,
        warnings=found.warnings,
        requires=found.requires,
        spared=found.spared,
    )
    if explained is not None:
        show_explained(screen, explained, full=False)
    return EXITS[made.outcome]


def _show_values(session: Session, values: list[Any]) -> Exit:
    if session.wants_json:
        session.screen.json({"values": values})
        return Exit.OK
    for value in values:
        session.screen.data(document(value))
    if not values:
        session.screen.data("undefined")
    return Exit.OK
