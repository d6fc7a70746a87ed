"""Reads a workflow file and finds everything that is wrong with it at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mandamus.catalog import expression, graph, inputs, scan
from mandamus.catalog.expression import Template
from mandamus.catalog.inputs import InputSpec, InputType, RefusedError
from mandamus.catalog.model import Retry, Step, Workflow
from mandamus.catalog.scan import Reference
from mandamus.kernel import canonical
from mandamus.kernel.document import EXPRESSION_OPEN, Finding, Kind, Node, Position, parse
from mandamus.kernel.errors import Code, Problem, raise_problems
from mandamus.kernel.reader import Reader, did_you_mean

Validators = Mapping[str, Callable[[Node], list[Problem]]]
"""By executor name: finds what is wrong with the node under that key."""

INPUTS_MAX = 256
STEPS_MAX = 10_000
ATTEMPTS_MAX = 20
PROBLEMS_MAX = 200
SHOWN_CHARS_MAX = 100

EXPRESSIONS_CHARS_MAX = 1024 * 1024
EXPRESSION_CHARS_LEAST = 32
"""All expressions of a workflow together; a short one counts as this many, for it has to be compiled as well."""
TIMEOUT_S_DEFAULT = 3600
BACKOFF_S_DEFAULT = 5

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
INPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")

_WORKFLOW_KEYS = ("workflow", "description", "inputs", "steps")
_INPUT_KEYS = ("type", "required", "default", "pattern", "enum", "description")
_STEP_KEYS = ("needs", "if", "timeout", "retry")
_SECRET_PLACES = frozenset({"env", "headers", "vars"})
_FIELDS = {"env": ("name", "vars"), "run": ("id", "workflow", "requester")}

# Where a string is a program: a value pasted there could become code, so it has to come by the environment.
_PROGRAM_TEXT = {"script": "run"}


def read(data: bytes, file: str, validators: Validators) -> Workflow:
    """Parse and check a workflow.

    Raises ``document_invalid`` when it is no YAML we accept, else ``workflow_invalid`` with every problem found.
    """
    root = parse(data, file)
    reading = _Reading(Reader(), validators)
    workflow = reading.workflow(root, file, data)
    _raise(reading.reader.problems)
    return workflow


def _raise(problems: Iterable[Problem]) -> None:
    seen: dict[tuple[int, int, str], Problem] = {}
    for problem in sorted(problems, key=lambda p: (p.line, p.col)):
        seen.setdefault((problem.line, problem.col, str(problem.code)), problem)
    found = list(seen.values())
    more = f"; {len(found) - PROBLEMS_MAX} more follow once these are mended" if len(found) > PROBLEMS_MAX else ""
    remedy = f"correct the file, then run `mandamus check` again{more}"
    raise_problems(Code.WORKFLOW_INVALID, found[:PROBLEMS_MAX], remedy=remedy)


@dataclass
class _Draft:
    """A step whose own place in the graph is known, its spec not yet read."""

    name: str
    at: Position
    node: Node
    fields: Mapping[str, Node]
    needs: dict[str, Position] = field(default_factory=dict)


class _Reading:
    def __init__(self, reader: Reader, validators: Validators) -> None:
        self.reader = reader
        self._validators = validators
        self._inputs: Mapping[str, InputSpec] = {}
        self._drafts: dict[str, _Draft] = {}
        self._reach = graph.Reach({})
        self._room = EXPRESSIONS_CHARS_MAX

    def workflow(self, root: Node, file: str, data: bytes) -> Workflow:
        fields = self.reader.table(root, "a workflow", _WORKFLOW_KEYS, required=("workflow", "steps"))
        name = self._name(fields["workflow"], "the workflow") if "workflow" in fields else ""
        if "inputs" in fields:
            self._inputs = self._read_inputs(fields["inputs"])
        if "steps" in fields:
            self._drafts = self._read_drafts(fields["steps"])
        order = self._order()
        steps = tuple(self._step(self._drafts[each]) for each in order)
        return Workflow(
            name=name,
            file=file,
            digest=canonical.digest(data),
            inputs=tuple(self._inputs.values()),
            steps=steps,
            description=self._description(fields),
        )

    def _description(self, fields: Mapping[str, Node]) -> str:
        node = fields.get("description")
        return self.reader.text(node, "`description`", empty=True, late=False) if node is not None else ""

    def _name(self, node: Node, what: str) -> str:
        text = self.reader.text(node, f"the name of {what}", late=False)
        if text and not NAME.fullmatch(text):
            self._bad_name(node.at, what, text)
        return text

    def _bad_name(self, at: Position, what: str, text: str) -> None:
        remedy = "use lower-case letters, digits, - and _, beginning with a letter, at most 63"
        self.reader.add(at, Finding.WRONG_VALUE, f"`{text[:60]}` is no name for {what}", remedy)

    # inputs

    def _read_inputs(self, node: Node) -> dict[str, InputSpec]:
        found = self.reader.mapping(node, "`inputs`")
        if len(found) > INPUTS_MAX:
            self.reader.add(node, Finding.LIMIT, f"{len(found)} inputs; at most {INPUTS_MAX}", "use a list or a map")
            return {}
        return {name: self._input(name, node.key_at(name), child) for name, child in found.items()}

    def _input(self, name: str, at: Position, node: Node) -> InputSpec:
        if not INPUT_NAME.fullmatch(name):
            remedy = "use letters, digits and _, not beginning with a digit, at most 63"
            self.reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is no name for an input", remedy)
        fields = self.reader.table(node, f"input `{name}`", _INPUT_KEYS, required=("type",))
        kind = InputType.STRING
        if "type" in fields:
            types = tuple(str(each) for each in InputType)
            kind = InputType(self.reader.choice(fields["type"], "`type`", types, default="string"))
        required = self.reader.boolean(fields["required"], "`required`") if "required" in fields else True
        spec = InputSpec(
            name=name,
            type=kind,
            at=at,
            required=required and "default" not in fields,
            pattern=self._pattern(fields, kind),
            enum=self._enum(fields, name, kind, at),
            description=self._description(fields),
        )
        return self._with_default(spec, fields)

    def _pattern(self, fields: Mapping[str, Node], kind: InputType) -> str:
        if "pattern" not in fields:
            return ""
        node = fields["pattern"]
        pattern = self.reader.text(node, "`pattern`", late=False)
        if kind is not InputType.STRING:
            self.reader.add(node, Finding.WRONG_VALUE, f"a {kind} has no pattern", "delete it, or use type: string")
        elif fault := inputs.pattern_fault(pattern):
            remedy = "write a regular expression without look-around and back-references (RE2 syntax)"
            self.reader.add(node, Finding.WRONG_VALUE, fault, remedy)
            return ""
        return pattern

    def _enum(self, fields: Mapping[str, Node], name: str, kind: InputType, at: Position) -> tuple[Any, ...]:
        if "enum" not in fields:
            return ()
        node = fields["enum"]
        if kind not in {InputType.STRING, InputType.INTEGER, InputType.NUMBER}:
            self.reader.add(node, Finding.WRONG_VALUE, f"a {kind} has no enum", "delete it")
            return ()
        elements = self.reader.sequence(node, "`enum`")
        if node.kind is Kind.LIST and not elements:
            self.reader.add(node, Finding.WRONG_VALUE, "`enum` is empty", "list the values, or delete it")
        bare = InputSpec(name=name, type=kind, at=at)
        return tuple(self._fitting(bare, element, "a value of `enum`") for element in elements)

    def _with_default(self, spec: InputSpec, fields: Mapping[str, Node]) -> InputSpec:
        node = fields.get("default")
        if node is None:
            return spec
        default = self._fitting(spec, node, "`default`")
        return InputSpec(**{**vars(spec), "default": default})

    def _fitting(self, spec: InputSpec, node: Node, what: str) -> Any:
        if any(scalar.late for scalar in node.scalars()):
            remedy = "write the value itself; it is fixed before the run"
            self.reader.add(node, Finding.EXPRESSION_REFUSED, f"{what} cannot hold an expression", remedy)
            return None
        value = node.plain()
        # A document has types, so text is not read as a number or a boolean here as it is on a command line.
        if isinstance(value, str) and spec.type is not InputType.STRING:
            article = "an" if spec.type is InputType.INTEGER else "a"
            remedy = "write it without quotes" if spec.type not in {InputType.LIST, InputType.MAP} else "write YAML"
            self.reader.add(node, Finding.WRONG_TYPE, f"{what} is {article} {spec.type}, not string", remedy)
            return None
        try:
            return inputs.value_of(spec, value)
        except RefusedError as error:
            self.reader.add(node, Finding.WRONG_VALUE, f"{what} {error.why}", error.remedy)
            return None

    # the graph

    def _read_drafts(self, node: Node) -> dict[str, _Draft]:
        found = self.reader.mapping(node, "`steps`")
        if node.kind is Kind.MAP and not found:
            self.reader.add(node, Finding.WRONG_VALUE, "`steps` is empty", "add a step")
        if len(found) > STEPS_MAX:
            self.reader.add(node, Finding.LIMIT, f"{len(found)} steps; at most {STEPS_MAX}", "split the workflow")
            return {}
        return {name: self._draft(name, node.key_at(name), child) for name, child in found.items()}

    def _draft(self, name: str, at: Position, node: Node) -> _Draft:
        if not NAME.fullmatch(name):
            self._bad_name(at, "a step", name)
        keys = (*_STEP_KEYS, *self._validators)
        draft = _Draft(name, at, node, self.reader.table(node, f"step `{name}`", keys))
        if "needs" in draft.fields:
            for element in self.reader.sequence(draft.fields["needs"], "`needs`"):
                need = self.reader.text(element, "an element of `needs`", late=False)
                if need in draft.needs:
                    self.reader.add(element, Finding.WRONG_VALUE, f"`{need}` stands twice in `needs`", "delete one")
                elif need:
                    draft.needs[need] = element.at
        return draft

    def _order(self) -> list[str]:
        edges: dict[str, list[str]] = {}
        for draft in self._drafts.values():
            edges[draft.name] = []
            for need, at in draft.needs.items():
                if need in self._drafts:
                    edges[draft.name].append(need)
                    continue
                remedy = did_you_mean(need, self._drafts, "name a step of this workflow")
                message = f"step `{draft.name}` needs `{need}`, which is no step here"
                self.reader.add(at, Finding.UNKNOWN_NAME, message, remedy)
        order, cycles = graph.order(edges)
        for cycle in cycles:
            at = self._drafts[cycle[0]].needs[cycle[1]]
            remedy = f"delete one of these needs, such as `{cycle[1]}` here"
            self.reader.add(at, Finding.CYCLE, f"steps need each other: {_path(cycle)}", remedy)
        self._reach = graph.Reach(edges)
        return order

    # steps

    def _step(self, draft: _Draft) -> Step:
        fields = draft.fields
        timeout_s = TIMEOUT_S_DEFAULT
        if "timeout" in fields:
            timeout_s = self.reader.duration_s(fields["timeout"], "`timeout`", default=TIMEOUT_S_DEFAULT)
        executor, node = self._executor(draft)
        return Step(
            name=draft.name,
            needs=tuple(draft.needs),
            condition=self._condition(draft, fields["if"]) if "if" in fields else None,
            timeout_s=timeout_s,
            retry=self._retry(fields["retry"]) if "retry" in fields else Retry(),
            executor=executor,
            spec=self._spec(draft, executor, node) if node is not None else {},
            at=draft.at,
        )

    def _executor(self, draft: _Draft) -> tuple[str, Node | None]:
        found = [name for name in draft.fields if name in self._validators]
        known = ", ".join(f"`{name}`" for name in self._validators)
        if not found:
            if draft.node.kind is Kind.MAP:
                message = f"step `{draft.name}` does not say what it runs"
                self.reader.add(draft.at, Finding.MISSING_KEY, message, f"add one of {known}")
            return "", None
        if len(found) > 1:
            at = draft.node.key_at(found[1])
            message = f"step `{draft.name}` has both `{found[0]}` and `{found[1]}`"
            self.reader.add(at, Finding.WRONG_VALUE, message, "make two steps of it; a step runs one thing")
        node = draft.fields[found[0]]
        if not self.reader.mapping(node, f"`{found[0]}`") and node.kind is not Kind.MAP:
            return found[0], None
        self.reader.problems += self._validators[found[0]](node)
        return found[0], node

    def _retry(self, node: Node) -> Retry:
        fields = self.reader.table(node, "`retry`", ("attempts", "backoff"), required=("attempts",))
        attempts, backoff_s = 1, BACKOFF_S_DEFAULT
        if "attempts" in fields:
            attempts = self.reader.integer(fields["attempts"], "`attempts`", minimum=1, maximum=ATTEMPTS_MAX, default=1)
        if "backoff" in fields:
            backoff_s = self.reader.duration_s(fields["backoff"], "`backoff`", minimum=0, default=BACKOFF_S_DEFAULT)
        return Retry(attempts, backoff_s)

    def _condition(self, draft: _Draft, node: Node) -> Template | None:
        made = self._template(draft, node, secrets=False) if isinstance(node.value, str) else node.value
        if isinstance(made, Template) and len(made.parts) == 1:
            return made
        remedy = 'write one expression, such as if: ${{ inputs.name != "x" }}'
        self.reader.add(node, Finding.WRONG_TYPE, "`if` is no expression", remedy)
        return None

    def _spec(self, draft: _Draft, executor: str, node: Node) -> dict[str, Any]:
        program = _PROGRAM_TEXT.get(executor)
        made: dict[str, Any] = {}
        for key, child in node.fields.items():
            if key == program and self._refuse_in_program(executor, child):
                continue
            made[key] = self._value(draft, child, secrets=key in _SECRET_PLACES)
        return made

    def _refuse_in_program(self, executor: str, node: Node) -> bool:
        late = [scalar for scalar in node.scalars() if scalar.late]
        for scalar in late:
            offset = scalar.value.index(EXPRESSION_OPEN)
            found = scan.expression(scalar.value, offset + len(EXPRESSION_OPEN))
            inner = found.text if found.end is not None and len(found.text) <= SHOWN_CHARS_MAX else "..."
            variable = re.sub(r"[^A-Z0-9]+", "_", inner.split(".")[-1].upper())[:30].strip("_") or "VALUE"
            remedy = f'write env: {{{variable}: "${{{{ {inner} }}}}"}} and use "${variable}" in the {executor}'
            message = f"an expression cannot stand in the text of a {executor}: its value could become code"
            self.reader.add(scalar.locate(offset), Finding.EXPRESSION_REFUSED, message, remedy)
        return bool(late)

    def _value(self, draft: _Draft, node: Node, *, secrets: bool) -> Any:
        if node.kind is Kind.MAP:
            for key in node.fields:
                if "${{" in key:
                    message = "a key cannot hold an expression"
                    self.reader.add(node.key_at(key), Finding.EXPRESSION_REFUSED, message, "write the key itself")
            return {key: self._value(draft, child, secrets=secrets) for key, child in node.fields.items()}
        if node.kind is Kind.LIST:
            return [self._value(draft, child, secrets=secrets) for child in node.elements]
        return self._template(draft, node, secrets=secrets) if node.late else node.value

    def _template(self, draft: _Draft, node: Node, *, secrets: bool) -> Template | str:
        if self._room < 0:
            text: str = node.value
            return text
        made = expression.parse(node, self.reader.problems)
        if isinstance(made, Template):
            self._room -= sum(max(EXPRESSION_CHARS_LEAST, len(found.text)) for found in made.expressions)
            if self._room < 0:
                message = f"expressions of more than {EXPRESSIONS_CHARS_MAX} characters in all"
                self.reader.add(node, Finding.LIMIT, message, "split the workflow")
            for found in made.expressions:
                for reference in found.scan.references:
                    self._reference(draft, node, reference, secrets=secrets)
        return made

    def _reference(self, draft: _Draft, node: Node, reference: Reference, *, secrets: bool) -> None:
        path = reference.path
        fault: tuple[Finding, str, str] | None = None
        if path[0] == "steps":
            fault = self._step_fault(draft, path)
        elif path[0] == "secrets":
            fault = _secret_fault(path, allowed=secrets)
        elif path[0] == "inputs" and len(path) > 1 and path[1] not in self._inputs:
            remedy = did_you_mean(path[1], self._inputs, "declare it under `inputs`")
            fault = (Finding.UNKNOWN_NAME, f"there is no input `{path[1]}`", remedy)
        elif path[0] in _FIELDS and len(path) > 1 and path[1] not in _FIELDS[path[0]]:
            known = _FIELDS[path[0]]
            remedy = did_you_mean(path[1], known, f"there is {', '.join(known)}")
            fault = (Finding.UNKNOWN_NAME, f"`{path[0]}` has no `{path[1]}`", remedy)
        if fault is not None:
            self.reader.add(node.locate(reference.offset), *fault)

    def _step_fault(self, draft: _Draft, path: tuple[str, ...]) -> tuple[Finding, str, str] | None:
        if len(path) == 1:
            return None  # the scan has already refused it
        name = path[1]
        if name not in self._drafts:
            near = [each for each in self._drafts if each.startswith(f"{name}-")]
            remedy = f'a name with a dash is written steps["{near[0]}"]' if near else ""
            remedy = remedy or did_you_mean(name, self._drafts, "name a step of this workflow")
            return Finding.UNKNOWN_NAME, f"there is no step `{name}`", remedy
        if name == draft.name:
            return Finding.NOT_NEEDED, f"step `{name}` reads its own outputs", "read the outputs of another step"
        if not self._reach.needs(draft.name, name):
            message = f"step `{draft.name}` reads step `{name}` but does not need it"
            needs = ", ".join([*draft.needs, name])
            return Finding.NOT_NEEDED, message, f"write needs: [{needs}]"
        if len(path) < 3 or path[2] != "outputs":
            return (
                Finding.UNKNOWN_NAME,
                f"a step has only outputs to read, not `{'.'.join(path)}`",
                (f"write steps.{name}.outputs.NAME"),
            )
        return None


def _path(cycle: list[str]) -> str:
    shown = cycle if len(cycle) <= 14 else [*cycle[:10], "...", *cycle[-2:]]
    return " -> ".join(shown)


def _secret_fault(path: tuple[str, ...], *, allowed: bool) -> tuple[Finding, str, str] | None:
    if not allowed:
        where = ", ".join(f"`{place}`" for place in sorted(_SECRET_PLACES))
        return Finding.EXPRESSION_REFUSED, "a secret cannot be read here", f"secrets are read under {where} only"
    if len(path) > 2:
        return Finding.UNKNOWN_NAME, f"a secret has no fields: `{'.'.join(path)}`", f"write secrets.{path[1]}"
    return None
