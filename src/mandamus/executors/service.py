"""The executors there are, found by entry point and built when first asked for: a broken one harms only its users."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import metadata

from mandamus.executors.model import Executor, Toolbox
from mandamus.kernel.document import Finding, Node
from mandamus.kernel.errors import Code, MandamusError, Problem
from mandamus.kernel.reader import did_you_mean

GROUP = "mandamus.executors"

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
# A step's own keys in a workflow; an executor of such a name would make every step ambiguous.
_TAKEN = frozenset({"needs", "if", "timeout", "retry"})
_FUNCTIONS = ("validate", "plan", "apply", "probe")


class Executors:
    """Every executor by name. ``found`` holds the entry points, several of a name only when packages quarrel."""

    def __init__(self, found: Iterable[metadata.EntryPoint], toolbox: Toolbox) -> None:
        self._toolbox = toolbox
        self._lock = threading.RLock()
        self._built: dict[str, Executor] = {}
        self._points: dict[str, dict[str, metadata.EntryPoint]] = {}
        for point in found:
            if _NAME.fullmatch(point.name) and point.name not in _TAKEN:
                self._points.setdefault(point.name, {})[point.value] = point

    @property
    def names(self) -> tuple[str, ...]:
        """The names there are, sorted."""
        return tuple(sorted(self._points))

    def get(self, name: str) -> Executor:
        """The executor of that name; raises ``not_found``, or ``tool_missing`` when its plug-in is broken."""
        with self._lock:
            if name not in self._built:
                self._built[name] = self._build(name)
            return self._built[name]

    def validators(self) -> Mapping[str, Callable[[Node], list[Problem]]]:
        """By name, what finds the problems of a step's spec; an executor is built when its check is first called."""
        return {name: partial(self._validate, name) for name in self.names}

    def _validate(self, name: str, node: Node) -> list[Problem]:
        try:
            return self.get(name).validate(node)
        except MandamusError as error:
            return [node.at.problem(Finding.WRONG_VALUE, error.message, error.remedy)]

    def _build(self, name: str) -> Executor:
        points = self._points.get(name)
        if points is None:
            known = ", ".join(f"`{each}`" for each in self.names)
            remedy = did_you_mean(name, self.names, f"the executors here are {known}")
            raise MandamusError(Code.NOT_FOUND, f"there is no executor `{name}`", remedy=remedy)
        if len(points) > 1:
            offers = ", ".join(sorted(f"{_package(point)} ({point.value})" for point in points.values()))
            raise MandamusError(
                Code.TOOL_MISSING,
                f"several packages offer the executor `{name}`: {offers}",
                remedy="uninstall all of them but one",
            )
        (point,) = points.values()
        try:
            made = point.load()(self._toolbox)
        except MandamusError:
            raise
        except Exception as error:
            raise _broken(point, f"{type(error).__name__}: {error}") from error
        lacking = [each for each in _FUNCTIONS if not callable(getattr(made, each, None))]
        if lacking or getattr(made, "name", None) != name:
            raise _broken(point, f"it has no {lacking[0]}" if lacking else f"it calls itself {made.name!r}")
        executor: Executor = made
        return executor


def load(toolbox: Toolbox) -> Executors:
    """The executors of this installation, built-in and third parties alike."""
    return Executors(metadata.entry_points(group=GROUP), toolbox)


def _package(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


def _broken(point: metadata.EntryPoint, why: str) -> MandamusError:
    return MandamusError(
        Code.TOOL_MISSING,
        f"the executor `{point.name}` of {_package(point)} ({point.value}) cannot be used: {why[:300]}",
        remedy=f"upgrade or uninstall {_package(point)}; other executors are not affected",
    )
