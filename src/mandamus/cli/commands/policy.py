"""``mandamus policy``"""

from __future__ import annotations

from collections.abc import Mapping

import click

from mandamus.cli.late import LateGroup
from mandamus.cli.session import common

COMMANDS: Mapping[str, str] = {
    "starter": "mandamus.cli.commands.policy_starter:command",
    "test": "mandamus.cli.commands.policy_test:command",
    "schema": "mandamus.cli.commands.policy_schema:command",
    "eval": "mandamus.cli.commands.policy_eval:command",
    "explain": "mandamus.cli.commands.policy_explain:command",
    "decisions": "mandamus.cli.commands.policy_decisions:command",
    "save-test": "mandamus.cli.commands.policy_save_test:command",
    "backtest": "mandamus.cli.commands.policy_backtest:command",
    "bundle": "mandamus.cli.commands.policy_bundle:command",
    "sets": "mandamus.cli.commands.policy_sets:command",
    "exempt": "mandamus.cli.commands.policy_exempt:command",
}

SUMMARIES: Mapping[str, str] = {
    "starter": "Write the starter policy set into DIR; needs no home.",
    "test": "Run the tests of policies; needs no home.",
    "schema": "Print the JSON Schema of a decision point's input.",
    "eval": "Evaluate a policy against an input; nothing is recorded.",
    "explain": "Say why a recorded decision came out as it did.",
    "decisions": "List the recorded decisions, newest first.",
    "save-test": "Turn a recorded decision into a test of its policy.",
    "backtest": "Try a candidate on every decision its set ever made.",
    "bundle": "Exchange policy sets as OPA bundles, signed or not.",
    "sets": "List the published policy sets and their versions.",
    "exempt": "Let a rule pass for a while; list and end exemptions.",
}


@click.group("policy", cls=LateGroup, table=COMMANDS, summaries=SUMMARIES)
@common
def command() -> None:
    """Write, test, try, publish and explain policy.

    \b
    Example:
      mandamus policy test policies/base
    """  # noqa: D301 - \b keeps click from joining the lines
