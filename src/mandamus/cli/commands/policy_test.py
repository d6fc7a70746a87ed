"""``mandamus policy test``"""

from __future__ import annotations

import re
from pathlib import Path

import click

from mandamus.cli.render import Painted, duration, safe
from mandamus.cli.session import Session, common_with, pass_session
from mandamus.kernel.errors import Code, Exit, MandamusError
from mandamus.policy import testing, testing_files
from mandamus.policy.model import BuiltinErrors, RegoVersion
from mandamus.policy.testing_model import BAD, Report, Result, Tested
from mandamus.policy.testing_report import FORMS, summary

TIMEOUT_S_MAX = 20.0

_COLOURS = {Result.PASS: "green", Result.FAIL: "red", Result.ERROR: "red", Result.SKIP: "dim"}


@click.command("test")
@click.argument("paths", metavar="[DIR...]", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--run", "pattern", metavar="REGEX", help="Only tests whose full name (data.package.test_x) matches.")
@click.option("--ignore", metavar="PATTERN", multiple=True, help="Pass over files and folders, such as '*.yaml'.")
@click.option("--coverage", is_flag=True, help="Also say which lines were evaluated.")
@click.option(
    "--threshold",
    metavar="PERCENT",
    type=click.FloatRange(0, 100),
    help="Fail when fewer lines than that were evaluated.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, TIMEOUT_S_MAX, min_open=True),
    default=testing.TIMEOUT_S,
    show_default=True,
    help="How long one test may take.",
)
@click.option(
    "--rego",
    type=click.Choice([version.value for version in RegoVersion]),
    default=RegoVersion.AUTO.value,
    show_default=True,
    help="Which Rego the files are written in; auto finds it out per file.",
)
@click.option(
    "--builtin-errors",
    type=click.Choice([each.value for each in BuiltinErrors]),
    default=BuiltinErrors.UNDEFINED.value,
    show_default=True,
    help="What a builtin that fails means; undefined is what `opa test` does.",
)
@click.option("--verbose", is_flag=True, help="List every test, not only those that failed.")
@common_with(*FORMS)
@pass_session
def command(
    session: Session,
    *,
    paths: tuple[Path, ...],
    pattern: str | None,
    ignore: tuple[str, ...],
    coverage: bool,
    threshold: float | None,
    timeout: float,
    rego: str,
    builtin_errors: str,
    verbose: bool,
) -> Exit:
    """Run the tests of policies; needs no home.

    Runs third-party Rego with its own tests as it is: every rule that is called test_*, in any file and package below
    the folders (or the working folder), with the JSON and YAML there as data. A file that does not compile is an error,
    and the others are still tested. Exit codes: 0 all passed, 1 failed or in error, 2 no test found.

    \b
    Example:
      mandamus policy test policies/base --coverage
    """  # noqa: D301 - \b keeps click from joining the lines
    settings = testing.Settings(
        run=None if pattern is None else _compiled(pattern),
        timeout_s=timeout,
        rego=RegoVersion(rego),
        builtin_errors=BuiltinErrors(builtin_errors),
        coverage=coverage or threshold is not None,
    )
    with session.policy_engine() as pool:
        sources = testing_files.read(paths or (Path(),), ignore)
        report = testing.run(sources, pool, settings, session.handed.monotonic_s, _progress(session))
    _show(session, report, verbose=verbose)
    return _exit(session, report, threshold)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise MandamusError(
            Code.USAGE, f"--run {pattern!r} is no regular expression: {error}", remedy="quote what is meant literally"
        ) from error


def _progress(session: Session) -> testing.Progress:
    def progress(done: int, total: int) -> None:
        if done % 25 == 0:
            session.screen.passing(f"{done} of {total} tests")

    return progress


def _show(session: Session, report: Report, *, verbose: bool) -> None:
    session.screen.passing("")
    if session.wants_json:
        session.screen.json(report.to_json())
    elif session.output in FORMS:
        session.screen.raw(safe(FORMS[session.output](report)))
    elif not report.empty:
        _show_table(session, report, verbose=verbose)


def _show_table(session: Session, report: Report, *, verbose: bool) -> None:
    screen = session.screen
    for tested in report.tests:
        if tested.result in BAD or verbose:
            _show_test(session, tested)
    rows = [
        (path, *(str(counts[result] or "-") for result in Result), _covered(report, path))
        for path, counts in report.by_file()
        if report.coverage or any(counts.values())
    ]
    headers = ("FILE", "PASSED", "FAILED", "ERRORS", "SKIPPED", "COVERED")
    shown = len(headers) if report.coverage else len(headers) - 1
    screen.table(headers[:shown], [row[:shown] for row in rows])


def _show_test(session: Session, tested: Tested) -> None:
    screen = session.screen
    file, line = tested.place
    took = f" ({duration(tested.duration_us / 1e6)})" if tested.duration_us >= 100_000 else ""
    word = Painted(tested.result.value.upper(), _COLOURS[tested.result])
    screen.data(word, f" {tested.title} {file}:{line}{took}")
    for text in (*tested.message.splitlines(), *tested.prints):
        screen.data(f"    {text}")


def _covered(report: Report, path: str) -> str:
    if report.coverage is None or path not in report.coverage.covered:
        return "-"
    return f"{report.coverage.of(path):g}%"


def _exit(session: Session, report: Report, threshold: float | None) -> Exit:
    screen = session.screen
    if report.empty:
        screen.say(Painted("no test was found", "red"), ": no rule whose name begins with test_ was run")
        return Exit.USAGE
    screen.say(f"{summary(report)} in {duration(report.duration_us / 1e6)}")
    low = False
    if report.coverage is not None:
        percent = report.coverage.percent
        low = threshold is not None and percent < threshold
        screen.say(f"{percent:g}% of the lines covered" + (f", less than {threshold:g}%" if low else ""))
    return Exit.OK if report.ok and not low else Exit.FAILED
