"""The evaluator ``opa-server``: a running OPA that is asked over its REST API (openpolicyagent.org/docs/rest-api)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mandamus.kernel import canonical
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import MandamusError
from mandamus.policy import rego_depth, server_set
from mandamus.policy.attribution import Attribution
from mandamus.policy.background import Background
from mandamus.policy.engine import Inspection, Refusal
from mandamus.policy.model import BuiltinErrors, Bundle, Fault, fault
from mandamus.policy.pool import Limits
from mandamus.policy.server_http import Place, Rest
from mandamus.policy.server_set import DECIDE, Settled
from mandamus.policy.trees import PARSE, to_parse

_TOOLS = "mandamus_tools"
_PARSE = f"package {_TOOLS}\n\nparse := {PARSE}\n"
_STRICT = "strict-builtin-errors=true"
_PROVENANCE = "provenance=true"


class OpaServer:
    """An `Evaluator` for many threads. A set is pushed when it is first asked, and again when the server forgot it."""

    def __init__(self, place: Place, clock: Clock, limits: Limits) -> None:
        """Raises ``usage`` for a place that is none; reaches nobody yet."""
        self._rest = Rest(place)
        self._now_us = clock.now_us
        self._limits = limits
        self._pushed: set[str] = set()
        self._pushing = threading.Lock()
        self._warmer = Background("policy-push")
        self._version = ""

    @property
    def name(self) -> str:
        """``opa-server-<version>`` as the server's last answer said, asked for when there was none."""
        if not self._version:
            try:
                self._answer(_TOOLS, b"{}", (_PROVENANCE,))
            except MandamusError:
                return "opa-server-unknown"
        return f"opa-server-{self._version or 'unknown'}"

    def evaluate(self, bundle: Bundle, data: bytes) -> Mapping[str, Any]:
        """See `Evaluator.evaluate`."""
        strict = bundle.builtin_errors is BuiltinErrors.ERROR
        make = functools.partial(server_set.settled, bundle)
        return self._ask(server_set.root_of(bundle), make, data, strict=strict)

    def explain(self, attribution: Attribution, data: bytes) -> Mapping[int, Sequence[Any]]:
        """See `Evaluator.explain`."""
        strict = attribution.bundle.builtin_errors is BuiltinErrors.ERROR
        make = functools.partial(server_set.settled_copy, attribution)
        try:
            value = self._ask(server_set.root_of_copy(attribution.bundle), make, data, strict=strict)
        except MandamusError as error:
            if error.context.get("fault") == Fault.COMPILE_ERROR.value:
                return {}
            raise
        if not all(isinstance(members, list) for members in value.values()):
            raise _odd("the explanation is no object of arrays")
        return attribution.members(value)

    def inspect(self, modules: Mapping[str, str], data: bytes, query: str = "true") -> Inspection:
        """See `Evaluator.inspect`; what is pushed for it is taken away again."""
        trees: dict[str, Mapping[str, Any]] = {}
        unparsed: dict[str, Refusal] = {}
        for path, text in modules.items():
            tree = rego_depth.too_deep(path, text) or self._parsed(path, text)
            if isinstance(tree, Refusal):
                unparsed[path] = tree
            else:
                trees[path] = tree
        return Inspection(trees, unparsed, None if unparsed else self._uncompiled(modules, data, query))

    def prepare(self, sets: Sequence[Attribution]) -> None:
        """See `Evaluator.prepare`; trouble shows when the set is asked, not here."""
        for attribution in sets:
            make = functools.partial(server_set.settled, attribution.bundle)
            self._warmer.submit(functools.partial(self._have, server_set.root_of(attribution.bundle), make))

    def close(self) -> None:
        """See `Evaluator.close`; the sets stay on the server."""
        self._warmer.close()
        self._rest.close()

    def healthy(self) -> bool:
        """Whether the server says that it is well."""
        status, _ = self._rest.call("GET", ("health",), self._limits.decide_s)
        return status == 200

    def _ask(self, root: str, make: Callable[[], Settled], data: bytes, *, strict: bool) -> Mapping[str, Any]:
        params = (_PROVENANCE, _STRICT) if strict else (_PROVENANCE,)
        fresh = self._have(root, make)
        value = self._answer(f"{root}/{DECIDE}", data, params)
        if value is None and not fresh:
            # Nothing tells a set that is not there from one that says nothing: the server may have started anew.
            self._pushed.discard(root)
            self._have(root, make)
            value = self._answer(f"{root}/{DECIDE}", data, params)
        if value is None:
            raise fault(Fault.UNDEFINED, "the decision is undefined on the policy server", "see the server's log")
        if not isinstance(value, dict):
            raise _odd("the decision is no object")
        return value

    def _answer(self, path: str, data: bytes, params: Sequence[str]) -> Any:
        """The value at a path of ``data`` for this input; None when there is none."""
        body = b'{"input":' + data + b"}"
        where = ("v1", "data", *path.split("/"))
        status, answer = self._rest.call("POST", where, self._limits.decide_s, body, "&".join(params))
        if status != 200:
            if status == 500 and isinstance(answer, dict) and answer.get("errors"):
                message = server_set.told(answer)
                raise fault(Fault.EVAL_ERROR, message, "mend the rule that the message names")
            raise _odd(f"status {status}, {server_set.told(answer)}")
        if not isinstance(answer, dict):
            raise _odd("it is no object")
        provenance = answer.get("provenance")
        if isinstance(provenance, dict):
            self._version = str(provenance.get("version", ""))
        return answer.get("result")

    def _have(self, root: str, make: Callable[[], Settled]) -> bool:
        """Push a set that is not known to be there; whether that was so."""
        if root in self._pushed:
            return False
        with self._pushing:
            if root in self._pushed:
                return False
            settled = make()
            refused = self._push(settled)
            if refused:
                raise fault(
                    Fault.COMPILE_ERROR,
                    f"the policy server does not take the set: {settled.named_as_before(refused)}",
                    "publish a set that this server's OPA accepts with `mandamus env apply`",
                )
            self._pushed.add(root)
        return True

    def _push(self, settled: Settled) -> str:
        """Put data and modules there; what the server says against it, or an empty text.

        A module that calls a function is taken only when the function is there, so the modules find their own order.
        """
        self._put(("v1", "data", settled.root), settled.data)
        waiting = list(settled.modules)
        while waiting:
            refused = [(module, text) for module in waiting if (text := self._put_module(module))]
            if len(refused) == len(waiting):
                return "\n".join(dict.fromkeys(line for _, text in refused for line in text.split("\n")))
            waiting = [module for module, _ in refused]
        return self._put_module(settled.decide)

    def _put_module(self, module: tuple[str, str]) -> str:
        name, text = module
        return self._put(("v1", "policies", *name.split("/")), text.encode(), refusable=True)

    def _put(self, path: tuple[str, ...], body: bytes, *, refusable: bool = False) -> str:
        status, answer = self._rest.call("PUT", path, self._limits.start_s, body)
        if status in (200, 204):
            return ""
        if refusable and status == 400:
            return server_set.told(answer)
        raise _odd(f"status {status}, {server_set.told(answer)}")

    def _parsed(self, path: str, text: str) -> Mapping[str, Any] | Refusal:
        question = to_parse(path, text)
        try:
            tree = self._answer(f"{_TOOLS}/parse", question, (_STRICT,))
            if tree is None:
                self._put_module((f"{_TOOLS}/parse.rego", _PARSE))
                tree = self._answer(f"{_TOOLS}/parse", question, (_STRICT,))
        except MandamusError as error:
            if error.context.get("fault") != Fault.EVAL_ERROR.value:
                raise
            return Refusal("parse_error", error.message)
        if not isinstance(tree, dict):
            raise _odd("a syntax tree is no object")
        return tree

    def _uncompiled(self, modules: Mapping[str, str], data: bytes, query: str) -> Refusal | None:
        root = f"mandamus_check_{self._now_us()}_{threading.get_ident()}_{canonical.digest_of(dict(modules))[7:27]}"
        settled = server_set.settle(root, list(modules.items()), data, query)
        try:
            refused = self._push(settled)
        finally:
            self._remove(settled)
        return Refusal("prepare_error", settled.named_as_before(refused)) if refused else None

    def _remove(self, settled: Settled) -> None:
        waiting = [settled.decide, *reversed(settled.modules)]
        while waiting:
            kept = [module for module in waiting if not self._gone(("v1", "policies", *module[0].split("/")))]
            if len(kept) == len(waiting):
                break
            waiting = kept
        self._gone(("v1", "data", settled.root))

    def _gone(self, path: tuple[str, ...]) -> bool:
        status, _ = self._rest.call("DELETE", path, self._limits.start_s)
        return status in (200, 204, 404)


def connect(url: str, token_file: str, roots: str, clock: Clock, limits: Limits) -> OpaServer:
    """The evaluator as settings name it; an empty text is a setting that is not made."""
    place = Place(url, Path(token_file) if token_file else None, Path(roots) if roots else None)
    return OpaServer(place, clock, limits)


def _odd(why: str) -> MandamusError:
    return fault(Fault.REPLY_INVALID, f"the policy server's reply has a shape nobody knows: {why}", "try again")
