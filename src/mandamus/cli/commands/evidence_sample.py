"""``mandamus evidence sample``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.audit.verify import read_trust
from mandamus.cli.given import write_new
from mandamus.cli.house import House
from mandamus.cli.session import Session, common, pass_session
from mandamus.evidence import sample
from mandamus.evidence.brief import brief
from mandamus.evidence.sampling import Drawn, draw
from mandamus.kernel import canonical
from mandamus.kernel.clock import moment_us
from mandamus.kernel.errors import Code, Exit, MandamusError
from mandamus.kernel.ids import RunId

_DAY_US = 86_400_000_000
_DATE_LENGTH = len("2027-01-31")


@click.command("sample")
@click.option("--from", "since", metavar="DATE", required=True, help="First day, or moment, of the period (UTC).")
@click.option("--to", "until", metavar="DATE", required=True, help="Last day of the period, or the moment it ends.")
@click.option("--n", "count", metavar="N", required=True, type=click.IntRange(min=1), help="How many runs to draw.")
@click.option("--seed", metavar="TEXT", required=True, help="What the draw depends on; the auditor's to choose.")
@click.option("--trust", metavar="VKEY", help="The key to verify with, text or file; by default the home's own.")
@click.option(
    "-o", "out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), default=Path("sample"),
    show_default=True, help="A new folder for the bundles and the report.",
)  # fmt: skip
@common
@pass_session
def command(session: Session, since: str, until: str, count: int, seed: str, trust: str | None, out: Path) -> Exit:
    """Draw an auditor's sample of runs, export and verify their bundles, and write one report.

    The population are the runs that ended in the period, as the log tells it. They are ordered by the SHA-256 of seed
    and run id, and the first are drawn; so whoever has the list of runs draws the same. DIR holds a bundle for each
    run, report.json and report.html. Exit code 0 when every drawn run is proved, else 11 or what was found.

    \b
    Example:
      mandamus evidence sample --from 2026-01-01 --to 2026-12-31 --n 25 --seed 7391 -o audit-2026
    """  # noqa: D301 - \b keeps click from joining the lines
    last = _DAY_US if len(until) == _DATE_LENGTH else 0
    asked = sample.Asked(moment_us(since), moment_us(until) + last, count, seed)
    with session.house() as house:
        checkpoint, population = house.evidence.population(house.who, asked.since_us, asked.until_us)
        _new_folder(out)
        key = read_trust(trust or str(house.audit.folder / "log.vkey"))
        found = [_found(house, one, out, key) for one in draw(population, seed, count)]
    told = sample.report(asked, checkpoint, population, found)
    write_new(out / "report.json", canonical.dumps(told))
    write_new(out / "report.html", sample.render(told))
    return _show(session, told, found, out)


def _found(house: House, drawn: Drawn, out: Path, key: str) -> sample.Found:
    run = RunId(drawn.closed.run)
    path = out / f"{run}.zip"
    try:
        house.evidence.export(house.who, run, path)
    except MandamusError as error:
        if error.code is Code.FORBIDDEN:
            raise
        # A run without its bundle is what the auditor came for: it is told, and the others are still looked at.
        return sample.Found(drawn, "", "incomplete", (f"there is no bundle: {error.message}",), None)
    report, told = brief(path, key)
    problems = tuple(str(problem) for problem in report.problems)
    return sample.Found(drawn, path.name, report.outcome.value, problems, told)


def _show(session: Session, told: dict[str, object], found: list[sample.Found], out: Path) -> Exit:
    proved = [one for one in found if one.told is not None]
    if session.wants_json:
        session.screen.json(canonical.loads(canonical.dumps(told)))
    else:
        rows = [(one.drawn.rank, one.drawn.closed.run, one.outcome, one.file or one.problems[0]) for one in found]
        session.screen.table(("rank", "run", "outcome", "bundle"), [tuple(map(str, row)) for row in rows])
        session.screen.say(f"{len(proved)} of {len(found)} drawn runs are proved: {out / 'report.html'}")
    worst = {one.outcome for one in found} - {"ok"}
    for outcome in (Exit.UNTRUSTED, Exit.TAMPERED, Exit.INCOMPLETE):
        if outcome.name.lower() in worst:
            return outcome
    return Exit.OK


def _new_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True)
    except FileExistsError as error:
        raise MandamusError(
            Code.CONFLICT, f"{path} exists already", remedy="name another folder with -o, or move this one away"
        ) from error
    except OSError as error:
        raise MandamusError(
            Code.UNAVAILABLE, f"{path} cannot be made: {error.strerror}", remedy="name a folder that can be made"
        ) from error
