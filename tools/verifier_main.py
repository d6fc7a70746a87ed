"""Verifies a Mandamus log, a proof or a run's evidence on any machine, offline, against a key you trust.

Needs Python 3.11 and the package `cryptography`, nothing else. Exit codes: 0 ok, 2 usage, 10 tampered, 11 incomplete,
12 untrusted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from mandamus.audit import proof
from mandamus.audit.model import Finding, Report
from mandamus.audit.quorum import parse_policy
from mandamus.audit.remote import Web
from mandamus.audit.resume import verify_since, verify_with_state
from mandamus.audit.trust import parse_trust
from mandamus.audit.verify import read_trust, uncosigned, verdict_of, verify_log
from mandamus.evidence.later import Demands
from mandamus.evidence.verify import verify as verify_bundle
from mandamus.kernel.errors import MandamusError


def main() -> int:
    """Run one verification; gives the exit code."""
    options = _parser().parse_args()
    try:
        trust = read_trust(options.trust)
        report = {"log": _log, "proof": _proof, "evidence": _evidence}[options.what](options, trust)
    except MandamusError as error:
        print(f"{error.message}\nremedy: {error.remedy}", file=sys.stderr)
        return int(error.code.exit)
    if options.json:
        print(json.dumps(report.to_json()))
        return int(report.outcome.exit)
    for problem in report.problems:
        leaf = "" if problem.leaf is None else f" (leaf {problem.leaf})"
        print(_plain(f"{problem.verdict.value}: {problem}{leaf}"))
    print(_plain(f"{options.subject}: {report.outcome.value}, {report.size} {_UNITS[options.what]} of {report.origin}"))
    if report.pruned:
        print(_plain(report.gone))
    return int(report.outcome.exit)


_UNITS = {"log": "leaves", "proof": "leaves", "evidence": "files"}


def _log(options: argparse.Namespace, trust: str) -> Report:
    source = Web(options.subject) if "://" in options.subject else Path(options.subject)
    quorum = parse_policy(options.policy.read_bytes()) if options.policy else None
    if options.since:
        return verify_since(source, trust, options.since, options.procs, quorum)
    if options.state:
        return verify_with_state(source, trust, options.state, options.procs, quorum)
    return verify_log(source, trust, procs=options.procs, quorum=quorum)


def _proof(options: argparse.Namespace, trust: str) -> Report:
    try:
        found = proof.parse(Path(options.subject).read_bytes())
        checkpoint = proof.verify(found, options.leaf.read_bytes(), parse_trust(trust))
    except MandamusError as error:
        return Report(0, (Finding(verdict_of(error), error.message, options.subject),))
    quorum = parse_policy(options.policy.read_bytes()) if options.policy else None
    return Report(checkpoint.size, tuple(uncosigned(found.checkpoint, quorum)), checkpoint.origin)


def _evidence(options: argparse.Namespace, trust: str) -> Report:
    quorum = parse_policy(options.policy.read_bytes()) if options.policy else None
    return verify_bundle(Path(options.subject), trust, Demands(quorum))


def _plain(text: str) -> str:
    """What a terminal may be shown: a damaged file can hold anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _file(value: str) -> Path:
    path = Path(value)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{value} is no file")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mandamus-verify", description=__doc__)
    kinds = parser.add_subparsers(dest="what", required=True)
    log = kinds.add_parser("log", help="a published log: a folder or an address")
    log.add_argument("subject", metavar="DIR|URL")
    since = log.add_mutually_exclusive_group()
    since.add_argument("--since", metavar="FILE", type=Path, help="a checkpoint you verified before")
    since.add_argument("--state", metavar="FILE", type=Path, help="what was verified; written when all is well")
    log.add_argument(
        "--procs", metavar="N", type=int, default=os.cpu_count() or 1, help="processes that share the work"
    )
    one = kinds.add_parser("proof", help="that a leaf is in the log")
    one.add_argument("subject", metavar="FILE", type=lambda value: str(_file(value)))
    one.add_argument("--leaf", metavar="FILE", type=_file, required=True, help="the exact bytes of the leaf")
    evidence = kinds.add_parser("evidence", help="the bundle of a run")
    evidence.add_argument("subject", metavar="FILE", type=lambda value: str(_file(value)))
    for each in (log, one, evidence):
        each.add_argument("--policy", metavar="FILE", type=_file, help="the witnesses that must have cosigned")
        each.add_argument("--trust", metavar="VKEY", required=True, help="the log's verifier key, or a file with it")
        each.add_argument("--json", action="store_true", help="one JSON document")
    return parser


if __name__ == "__main__":
    sys.exit(main())
