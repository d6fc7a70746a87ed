"""``mandamus audit search``"""

from __future__ import annotations

import click

from mandamus.audit.search import LIMIT, LIMIT_MAX, TEXT_LENGTH_MAX, Hit
from mandamus.audit.search_store import Wanted
from mandamus.cli.render import first_line, stamp
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.clock import moment_us
from mandamus.kernel.errors import Exit


@click.command("search")
@click.option("--actor", metavar="USER", help="Only events by this user.")
@click.option("--kind", metavar="KIND", help="Only events of this kind, such as run.requested.")
@click.option("--resource", metavar="TYPE[/ID]", help="Only events about this, such as environment/prod.")
@click.option("--run", metavar="RUN", help="Only events of this run.")
@click.option("--project", metavar="PROJECT", help="Only events of this project.")
@click.option("--outcome", metavar="OUTCOME", help="Only events that went so: ok, denied, failed or unknown.")
@click.option("--since", metavar="TIME", help="From this moment on: 2027-01-31, or 2027-01-31T18:00:00Z.")
@click.option("--until", metavar="TIME", help="Before this moment.")
@click.option(
    "--text", metavar="TEXT", help=f"In kind, resource, step, reason or ticket; at most {TEXT_LENGTH_MAX} characters."
)
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=LIMIT, show_default=True, help="How many to show.")
@click.option("--before", metavar="INDEX", type=click.IntRange(0), help="Only events older than this leaf.")
@common
@pass_session
def command(
    session: Session,
    actor: str | None,
    kind: str | None,
    resource: str | None,
    run: str | None,
    project: str | None,
    outcome: str | None,
    since: str | None,
    until: str | None,
    text: str | None,
    limit: int,
    before: int | None,
) -> Exit:
    """Find events, newest first.

    Shows the owner and auditors all that fits, others the events of the projects they may read. Each search is recorded
    with what was looked for. So many events are looked at for a page: it may be empty and not the last.

    \b
    Example:
      mandamus audit search --kind approval.recorded --since 2027-01-01 --limit 20
    """  # noqa: D301 - \b keeps click from joining the lines
    moments = [None if each is None else moment_us(each) for each in (since, until)]
    wanted = Wanted(actor, kind, resource, run, outcome, moments[0], moments[1], text, project)
    with session.house() as house:
        page = house.audit.search.find(house.who, wanted, before=before, limit=limit)
    if session.wants_json:
        events = [{"index": hit.index, "leaf": dict(hit.fields)} for hit in page.hits]
        session.screen.json({"events": events, "before": page.before})
        return Exit.OK
    if page.hits:
        session.screen.table(
            ("INDEX", "AT", "WHO", "KIND", "ABOUT", "OUTCOME", "WHY"), [_row(hit) for hit in page.hits]
        )
    else:
        session.screen.say("nothing here fits" if page.before is not None else "no event fits")
    if page.before is not None:
        session.screen.say(f"next page: the same with --before {page.before}")
    return Exit.OK


def _row(hit: Hit) -> tuple[str, ...]:
    found = hit.fields
    about = f"{found['what']['type']}/{found['what']['id']}"
    why = first_line(found["why"])
    return str(hit.index), stamp(found["at"]), found["who"]["subject"], found["kind"], about, found["outcome"], why
