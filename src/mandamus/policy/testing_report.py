"""A report of tests in the forms other tools read: JUnit XML, SARIF, TAP and GitHub's workflow commands."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from mandamus.policy.testing_model import BAD, Report, Result, Tested

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TOOL = "mandamus policy test"


def junit(report: Report) -> str:
    """JUnit XML as the test panes of CI systems read it: a suite per file, a case per test; times in seconds."""
    suites = ET.Element("testsuites", _totals(report))
    for path, counts in report.by_file():
        tests = [tested for tested in report.tests if tested.file == path]
        suite = ET.SubElement(
            suites,
            "testsuite",
            {
                "name": _xml(path),
                "tests": str(len(tests)),
                "failures": str(counts[Result.FAIL]),
                "errors": str(counts[Result.ERROR]),
                "skipped": str(counts[Result.SKIP]),
                "time": _seconds(sum(tested.duration_us for tested in tests)),
            },
        )
        for tested in tests:
            _junit_case(suite, tested)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _totals(report: Report) -> dict[str, str]:
    return {
        "name": _TOOL,
        "tests": str(len(report.tests)),
        "failures": str(report.counts[Result.FAIL]),
        "errors": str(report.counts[Result.ERROR]),
        "skipped": str(report.counts[Result.SKIP]),
        "time": _seconds(report.duration_us),
    }


def _junit_case(suite: ET.Element, tested: Tested) -> None:
    names = {"classname": _xml(tested.package or tested.file), "name": _xml(tested.name or "load")}
    place = {"file": _xml(tested.file), "line": str(tested.line), "time": _seconds(tested.duration_us)}
    case = ET.SubElement(suite, "testcase", {**names, **place})
    if tested.result in BAD:
        kind = "failure" if tested.result is Result.FAIL else "error"
        found = ET.SubElement(case, kind, {"message": _xml(tested.message)})
        found.text = _xml(f"{_place(tested)}: {tested.message}")
    elif tested.result is Result.SKIP:
        ET.SubElement(case, "skipped")
    if tested.prints:
        ET.SubElement(case, "system-out").text = _xml("\n".join(tested.prints))


def sarif(report: Report) -> str:
    """SARIF 2.1.0: one result for each test that failed or erred, at the line to look at."""
    bad = [tested for tested in report.tests if tested.result in BAD]
    rules = {
        "policy-test-failed": "A test of policy failed",
        "policy-test-error": "A test of policy, or a file, could not be evaluated",
    }
    run = {
        "tool": {
            "driver": {
                "name": _TOOL,
                "rules": [{"id": id_, "shortDescription": {"text": text}} for id_, text in rules.items()],
            }
        },
        "results": [_sarif_result(tested) for tested in bad],
    }
    document = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(document, indent=2) + "\n"


def _sarif_result(tested: Tested) -> Mapping[str, Any]:
    file, line = tested.place
    place = {"artifactLocation": {"uri": quote(os.fsencode(file))}, "region": {"startLine": max(line, 1)}}
    return {
        "ruleId": "policy-test-failed" if tested.result is Result.FAIL else "policy-test-error",
        "level": "error",
        "message": {"text": f"{tested.title}: {tested.message}"},
        "locations": [{"physicalLocation": place}],
    }


def tap(report: Report) -> str:
    """TAP 14: a line per test, and what is to be said of those that are not ok as YAML beneath."""
    lines = ["TAP version 14", f"1..{len(report.tests)}"]
    for number, tested in enumerate(report.tests, 1):
        # TAP reads a bare # as the start of a directive.
        title = tested.title.replace("\\", "\\\\").replace("#", "\\#")
        ok = "not ok" if tested.result in BAD else "ok"
        lines.append(f"{ok} {number} - {title}" + (" # SKIP" if tested.result is Result.SKIP else ""))
        if tested.result in BAD:
            lines += _tap_block(tested)
    return "\n".join(lines) + "\n"


def _tap_block(tested: Tested) -> Iterator[str]:
    yield "  ---"
    # Text in JSON is text in YAML, too.
    yield f"  severity: {tested.result.value}"
    yield f"  message: {json.dumps(tested.message)}"
    yield f"  at: {json.dumps(_place(tested))}"
    yield "  ..."


def github(report: Report) -> str:
    """GitHub's workflow commands: an annotation at the line of each test that failed or erred, and the counts."""
    lines = []
    for tested in report.tests:
        if tested.result in BAD:
            file, line = tested.place
            where = f"file={_property(file)},line={line},title={_property(tested.title)}"
            lines.append(f"::error {where}::{_escaped(tested.message)}")
    level = "notice" if report.ok else "error"
    return "\n".join([*lines, f"::{level}::{_escaped(summary(report))}"]) + "\n"


def summary(report: Report) -> str:
    """The counts in words."""
    names = {Result.PASS: "passed", Result.FAIL: "failed", Result.ERROR: "in error", Result.SKIP: "skipped"}
    told = [f"{report.counts[result]} {name}" for result, name in names.items() if report.counts[result]]
    return ", ".join(told) or "no tests"


FORMS: Mapping[str, Callable[[Report], str]] = {"junit": junit, "sarif": sarif, "tap": tap, "github": github}
"""Every form but the table and JSON, by its name."""


def _place(tested: Tested) -> str:
    file, line = tested.place
    return f"{file}:{line}"


def _seconds(microseconds: int) -> str:
    return f"{microseconds / 1e6:.6f}"


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
