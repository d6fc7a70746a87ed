"""``mandamus audit export``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.cli.findings import show
from mandamus.cli.render import stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit


@click.group("export")
@common
def command() -> None:
    """Send the log to sinks, and prove that they have it.

    Sinks are declared in HOME/sinks.yaml.

    \b
    Example:
      mandamus audit export run
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("run")
@click.argument("sink", metavar="[SINK]", required=False)
@click.option("--from", "index", metavar="INDEX", type=click.IntRange(0), help="Send again, from that leaf on.")
@common
@pass_session
def run(session: Session, sink: str | None, index: int | None) -> Exit:
    """Give the sinks all that they do not have.

    Each goes on where it stopped. What a sink was given when it failed may be given to it again, nothing is left out.

    \b
    Example:
      mandamus audit export run siem
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        sent = house.log_export.run(house.who, sink, index)
    failed = any(each.error for each in sent)
    if session.wants_json:
        session.screen.json([each.to_json() for each in sent])
        return Exit.FAILED if failed else Exit.OK
    for each in sent:
        if each.pumped is not None:
            done = each.pumped
            session.screen.data(f"{each.sink.name}: took leaves {done.first} to {done.next - 1} of {done.size}")
            if done.pruned:
                session.screen.say(f"the leaves before {done.first} are pruned, so {each.sink.name} begins there")
        elif each.error is not None:
            session.screen.data(f"{each.sink.name}: {each.error.message}")
            session.screen.say(each.error.remedy)
    if not sent:
        session.screen.say("no sinks are declared: write HOME/sinks.yaml")
    return Exit.FAILED if failed else Exit.OK


@command.command("list")
@common
@pass_session
def list_(session: Session) -> Exit:
    """Show how far each sink is, and its last error.

    \b
    Example:
      mandamus audit export list
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.log_export.sinks(house.who)
    if session.wants_json:
        session.screen.json([each.to_json() for each in found])
        return Exit.OK
    rows = [
        (
            each.sink.name,
            each.sink.form.value,
            "yes" if each.sink.required else "no",
            str(each.cursor.next),
            str(each.lag),
            stamp(each.cursor.taken_us) if each.cursor.taken_us else "never",
            each.cursor.error,
        )
        for each in found
    ]
    session.screen.table(("SINK", "FORM", "REQUIRED", "NEXT", "LAG", "TAKEN", "LAST ERROR"), rows)
    return Exit.OK


@command.command("reconcile")
@click.argument("sink", metavar="SINK")
@click.option(
    "--copy",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="All that the sink has of the log; a sink that is a folder is read where it is.",
)
@common
@pass_session
def reconcile(session: Session, sink: str, copy: Path | None) -> Exit:
    """Prove that a sink has everything, unchanged.

    Compares index and hash of every event, and reports by 256 leaves. Exit codes: 0 ok, 10 tampered, 11 incomplete.

    \b
    Example:
      mandamus audit export reconcile siem --copy siem.jsonl
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        report = house.log_export.reconcile(house.who, sink, copy)
    return show(session, f"sink {sink}", report, "leaves")
