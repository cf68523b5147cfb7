"""What was learned about all origins, the least recently used forgotten; and its export and import.

An exported document is plain JSON with ages in place of clock times, so that another process, or
another host, can start wise. An imported one comes from outside: it is checked to its last number
before any of it counts, and its size before that.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from holdfast._core.learning import Learner, Limit
from holdfast.errors import KnowledgeError

__all__ = ["FORMAT", "VERSION", "Knowledge", "read_document"]

FORMAT = "holdfast learned limits"
VERSION = 1

_MOST_BYTES_EACH = 1024
"""An exported origin takes some 300 bytes."""

_LONGEST_NAME = 512
_MOST_SECONDS = 1e7
"""Four months: longer than anything that is learned is kept."""

_MOST_COUNT = 1_000_000
_SHOWN = 40


class Knowledge:
    """One for the process: origins are the same for all pools. The driver's lock is held by who calls."""

    def __init__(self, most: int = 10_000) -> None:
        """``most``: origins that are kept. 10,000 by default: some 20 MB at the worst, and few programs talk
        to so many; one that does, a crawler, meets most of them once."""
        self._most = most
        self._learners: OrderedDict[str, Learner] = OrderedDict()

    def __len__(self) -> int:
        return len(self._learners)

    def __contains__(self, origin: str) -> bool:
        return origin in self._learners

    def of(self, origin: str) -> Learner:
        """What is known about it; an empty one if nothing is."""
        learner = self._learners.get(origin)
        if learner is None:
            learner = self._learners[origin] = Learner()
            if len(self._learners) > self._most:
                self._learners.popitem(last=False)
        else:
            self._learners.move_to_end(origin)
        return learner

    def items(self) -> Iterator[tuple[str, Learner]]:
        """The least recently used first. Asking does not count as use."""
        return iter(list(self._learners.items()))

    def export(self, now: float) -> dict[str, Any]:
        """All of it that is worth telling, as JSON has it. Ages are in seconds."""
        origins = {origin: known for origin, one in self.items() if (known := _export(one, now))}
        return {"format": FORMAT, "version": VERSION, "origins": origins}

    def load(self, data: object, now: float) -> None:
        """Takes over what another process exported, where nothing is known yet: what this one saw itself
        stays as it is. Everything does if :class:`~holdfast.KnowledgeError` is raised."""
        for origin, known in self._checked(data).items():
            if origin in self._learners or len(self._learners) < self._most:
                _import(self.of(origin), known, now)

    def _checked(self, data: object) -> Mapping[str, dict[str, dict[str, float]]]:
        document = _fields("the document", data, {"format", "version", "origins"})
        if document["format"] != FORMAT:
            raise KnowledgeError("format", f"must be {FORMAT!r}")
        if type(document["version"]) is not int or document["version"] != VERSION:
            raise KnowledgeError("version", f"must be {VERSION}, which this release reads")
        origins = document["origins"]
        if not isinstance(origins, dict):
            raise KnowledgeError("origins", "must be an object")
        if len(origins) > self._most:
            raise KnowledgeError("origins", f"must be at most {self._most}, there are {len(origins)}")
        return {_name(origin): _origin(origin, known) for origin, known in origins.items()}


def read_document(text: str | bytes, most: int = 10_000) -> object:
    """The JSON of an exported document. :class:`~holdfast.KnowledgeError` if it is too long for so many
    origins, truncated, nested too deep, or holds numbers that JSON does not know."""
    if len(text) > most * _MOST_BYTES_EACH:
        raise KnowledgeError("the document", f"must be at most {most * _MOST_BYTES_EACH} bytes long")
    try:
        document: object = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise KnowledgeError("the document", "is nested too deep") from None
    except ValueError as error:
        raise KnowledgeError("the document", f"is not JSON: {error}") from None
    return document


def _no_number(constant: str) -> float:
    raise KnowledgeError("the document", f"{constant} is no number")


# -- out of a learner and into it


def _export(learner: Learner, now: float) -> dict[str, dict[str, float]]:
    known: dict[str, dict[str, float]] = {}
    idle, flow, uses = learner.idle_limit(now), learner.flow_limit(now), learner.use_limit(now)
    if idle is not None:
        known["idle"] = {
            "seconds": idle.seconds,
            "spread": idle.spread,
            "samples": idle.samples,
            "age": _age(learner.idle.seen_at, now),
        }
    if flow is not None:
        age = _age(learner.flow.seen_at, now)
        known["flow"] = {"seconds": flow.seconds, "samples": flow.samples, "age": age}
    if uses is not None:
        known["uses"] = {"count": uses, "age": _age(learner.uses.seen_at, now)}
    return known


def _age(seen_at: float, now: float) -> float:
    return min(max(0.0, now - seen_at), _MOST_SECONDS)


def _import(learner: Learner, known: dict[str, dict[str, float]], now: float) -> None:
    idle, flow, uses = known.get("idle"), known.get("flow"), known.get("uses")
    if idle is not None and learner.idle_limit(now) is None:
        limit = Limit(idle["seconds"], idle["spread"], int(idle["samples"]), 0.0)
        learner.idle.imported(limit, now - idle["age"])
    if flow is not None and learner.flow_limit(now) is None:
        learner.flow.imported(flow["seconds"], int(flow["samples"]), now - flow["age"])
    if uses is not None and learner.use_limit(now) is None:
        learner.uses.imported(int(uses["count"]), now - uses["age"])


# -- what a document may hold


def _seconds(where: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_SECONDS:
        raise KnowledgeError(where, f"must be a number of seconds from 0 to {_MOST_SECONDS:.0f}")
    return float(value)


def _positive(where: str, value: object) -> float:
    seconds = _seconds(where, value)
    if seconds <= 0:
        raise KnowledgeError(where, "must be more than 0 seconds")
    return seconds


def _count(where: str, value: object) -> int:
    if type(value) is not int or not 1 <= value <= _MOST_COUNT:
        raise KnowledgeError(where, f"must be a whole number from 1 to {_MOST_COUNT}")
    return value


_PARTS: dict[str, dict[str, Callable[[str, object], float]]] = {
    "idle": {"seconds": _positive, "spread": _seconds, "samples": _count, "age": _seconds},
    "flow": {"seconds": _positive, "samples": _count, "age": _seconds},
    "uses": {"count": _count, "age": _seconds},
}


def _name(origin: object) -> str:
    if not isinstance(origin, str) or not 0 < len(origin) <= _LONGEST_NAME or not origin.isprintable():
        raise KnowledgeError(
            "origins", f"{_shown(origin)} is no origin: 1 to {_LONGEST_NAME} printable characters"
        )
    return origin


def _origin(origin: object, known: object) -> dict[str, dict[str, float]]:
    where = f"origin {_shown(origin)}"
    if not isinstance(known, dict) or not known.keys() <= _PARTS.keys():
        raise KnowledgeError(where, f"must be an object with only {', '.join(_PARTS)}")
    return {part: _part(f"{where}, {part}", part, value) for part, value in known.items()}


def _part(where: str, part: str, value: object) -> dict[str, float]:
    rules = _PARTS[part]
    fields = _fields(where, value, rules.keys())
    return {name: rule(f"{where}, {name}", fields[name]) for name, rule in rules.items()}


def _fields(where: str, value: object, names: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise KnowledgeError(where, f"must be an object with {', '.join(sorted(names))}")
    return value


def _shown(origin: object) -> str:
    return repr(origin[:_SHOWN]) if isinstance(origin, str) else type(origin).__name__
