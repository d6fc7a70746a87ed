"""``mandamus policy save-test``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.cli.render import Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel import ids
from mandamus.kernel.attachment import Attached
from mandamus.kernel.errors import Code, Exit, MandamusError
from mandamus.kernel.ids import DecisionId
from mandamus.policy import golden
from mandamus.policy.attribution import Attribution
from mandamus.policy.model import Decision


@click.command("save-test")
@click.argument("decision", metavar="DECISION")
@click.option(
    "--to",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder of the set's rules.",
)
@click.option("--set", "set_name", metavar="SET", help="Which set to test, when several decided.")
@click.option("--name", metavar="NAME", help="What to call the test; else it is named after the decision.")
@common
@pass_session
def command(session: Session, decision: str, folder: Path, set_name: str | None, name: str | None) -> Exit:
    """Turn a recorded decision into a test of its policy.

    Writes NAME_test.rego and NAME.json into the folder: the recorded input, and what every rule of the set said. The
    test passes as long as the rules say the same of that input. No file is overwritten, and neither becomes part of
    what is published: the one is a test, and of data only data.json counts.

    \b
    Example:
      mandamus policy save-test DECISION --to policies/base --name public_bucket
    """  # noqa: D301 - \b keeps click from joining the lines
    id_ = DecisionId(ids.parse("dec", decision))
    with session.house() as house:
        found = house.policy.get(house.who, id_)
        attached = _chosen(found, set_name)
        attribution = Attribution(house.policy.bundle(house.who, attached.set))
    with session.policy_engine() as pool:
        made = golden.golden(pool, found, attached.set, attribution, name or f"decision_{id_.removeprefix('dec_')}")
    paths = _write(folder, made)
    if session.wants_json:
        session.screen.json({"decision": id_, "set": attached.set, "files": [str(path) for path in paths]})
        return Exit.OK
    for path in paths:
        session.screen.data(str(path))
    session.screen.say(Painted("next", "bold"), f": {session.command('policy', 'test', str(folder))}")
    return Exit.OK


def _chosen(decision: Decision, name: str | None) -> Attached:
    sets = decision.verdict.attached
    named = [each for each in sets if name is None or name in (each.name, each.set)]
    if len(named) == 1:
        return named[0]
    raise MandamusError(
        Code.USAGE,
        f"{decision.id} was made by {len(sets)} sets" + (f", none of them {name!r}" if name else ""),
        remedy="name one with --set: " + ", ".join(each.name or each.set for each in sets),
    )


def _write(folder: Path, made: golden.Golden) -> list[Path]:
    paths = [folder / name for name in made.files]
    for path in paths:
        if path.exists():
            raise MandamusError(
                Code.CONFLICT, f"{path} is there already", remedy="choose another name with --name, or remove it"
            )
    for path, text in zip(paths, made.files.values(), strict=True):
        path.write_text(text)
    return paths
