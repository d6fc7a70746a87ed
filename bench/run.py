"""Measures every figure, prints the table, writes ``results.json``; with ``--strict`` a missed target is exit 1."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import backtest
import bundle
import decisions
import export
import faults
import governed
import integrate
import lists
import log
import network
import screens
import search
import start
import steps
import streams
import tamper
import verify
from figures import Figure, seconds, table

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Run all of it; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument("--without-tests", action="store_true", help="do not time `make test`")
    options = parser.parse_args()
    figures: list[Figure] = []
    sources = [start, steps, governed, log, integrate, verify, search, bundle, export]
    sources += [decisions, backtest, faults, network, tamper, lists, screens, streams]
    for source in sources:
        print(f"measuring: {source.__doc__.splitlines()[0] if source.__doc__ else source.__name__}", flush=True)
        made = list(source.measure())
        print("\n".join(table(made)), flush=True)
        figures += made
    if not options.without_tests:
        figures += _tests()
    print("\n".join(["", *table(figures)]))
    RESULTS.write_text(json.dumps({each.name: each.to_json() for each in figures}, indent=2) + "\n")
    missed = [each.name for each in figures if each.passed is False]
    if missed:
        print(f"\nmissed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed and options.strict else 0


def _tests() -> Iterator[Figure]:
    print("measuring: `make test`", flush=True)
    taken = seconds(lambda: subprocess.run(["/usr/bin/env", "make", "test"], cwd=ROOT, check=True, capture_output=True))
    yield Figure("make test", taken / 60, "min", 10)


if __name__ == "__main__":
    sys.exit(main())
