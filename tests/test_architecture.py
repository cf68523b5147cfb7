"""Who may import whom, read from the syntax trees: a rule that nobody has to remember."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast

PACKAGE = Path(holdfast.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Each room and what it may know besides itself. What is left of an arrow never looks right:
# vocabulary ← errors, events, policy ← _core ← _net | _threads ← adapters ← observe, testing, cli
WORDS = {"vocabulary", "errors", "events", "policy"}
MAY_KNOW: dict[str, set[str]] = {
    "vocabulary": set(),
    "errors": {"vocabulary"},
    "events": {"vocabulary"},
    "policy": {"vocabulary", "errors", "events"},
    "_core": WORDS,
    "_net": {*WORDS, "_core"},
    "_threads": {*WORDS, "_core"},
    "adapters": {*WORDS, "_core", "_net", "_threads"},
    "observe": {*WORDS, "_core", "_net", "_threads", "adapters"},
    # Peers, clocks and fixtures for others' tests: they know nothing of what they test.
    "testing": WORDS,
    "_demo": {*WORDS, "holdfast", "testing", "adapters", "observe"},
    "cli": {"holdfast", "_demo"},
    "__main__": {"cli"},
    "__init__": {*WORDS, "adapters", "observe"},
}
ONLY_HERE = {
    "urllib3": {"adapters/urllib3", "adapters/requests.py", "_demo"},
    "requests": {"adapters/requests.py", "_demo"},
    "rich": {"_demo", "cli.py"},
    "trustme": {"_demo"},
    "pytest": {"testing/fixtures.py"},
}
NOT_IN_CORE = {"socket", "ssl", "select", "threading", "time", "random", "logging", "os", "http", "asyncio"}


def room_of(module: Path) -> str:
    first = module.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            assert node.module
            if node.module == "holdfast":
                yield from (
                    f"holdfast.{a.name}"
                    if (PACKAGE / a.name).exists() or (PACKAGE / f"{a.name}.py").exists()
                    else "holdfast"
                    for a in node.names
                )
            else:
                yield node.module


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_knows_only_the_rooms_to_its_left(module: Path) -> None:
    room = room_of(module)
    known = {
        name.split(".")[1] if "." in name else "holdfast"
        for name in imports(module)
        if name.split(".")[0] == "holdfast"
    }
    assert known - {room} <= MAY_KNOW[room], f"{room} must not know {known - {room} - MAY_KNOW[room]}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_library_is_imported_only_by_those_who_adapt_it(module: Path) -> None:
    place = str(module.relative_to(PACKAGE))
    for name in imports(module):
        allowed = ONLY_HERE.get(name.split(".")[0])
        assert allowed is None or any(place.startswith(prefix) for prefix in allowed), (
            f"{place} imports {name}"
        )


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if room_of(m) in {*WORDS, "_core"}],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_rules_know_no_socket_thread_clock_or_chance(module: Path) -> None:
    if module in (PACKAGE / "policy" / "__init__.py", PACKAGE / "policy" / "_clock.py"):
        # They name a clock as a default and call nothing.
        return
    assert not {name.split(".")[0] for name in imports(module)} & NOT_IN_CORE


def test_every_room_is_in_the_table() -> None:
    assert {room_of(module) for module in MODULES} == set(MAY_KNOW)


def test_every_file_holds_one_idea() -> None:
    long = {str(m.relative_to(PACKAGE)): n for m in MODULES if (n := len(m.read_text().splitlines())) > 350}
    assert long == {}
