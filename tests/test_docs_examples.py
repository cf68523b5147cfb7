"""The examples of README.md and docs/**/*.md, run as a reader would, and the tables held to the code.

How a page is marked, in HTML comments, which readers do not see:

- every ```python block is run, in order, all blocks of a page in one namespace;
- ``<!-- not run: reason -->`` right before a block leaves it out, though it must compile;
- ``<!-- output -->`` right before a ```text block: what the python block before it printed. ``...``
  stands for anything within a line;
- a function called ``test_…`` is called, with the fixtures that it names;
- ``https://api.example.com`` is a FaultServer, whose script ``<!-- faults: NONE READ_THEN_CLOSE | NONE -->``
  gives, one plan for each connection; without it the server behaves.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import events
from holdfast.testing import Fault, FaultServer
from holdfast.testing.fixtures import StartFaultServer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)]
EXAMPLE = "https://api.example.com"

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<language>python|text)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_FAULTS = re.compile(r"^<!-- faults: (.*?) -->$", re.MULTILINE)
_CLOSERS = ("clear", "close")
_OURS_TO_CLOSE = ("urllib3", "requests", "botocore", "holdfast")


@dataclass(frozen=True)
class Block:
    """One fenced block, and what the comment before it says."""

    language: str
    mark: str
    text: str
    line: int

    @property
    def runs(self) -> bool:
        return self.language == "python" and not self.mark.startswith("not run:")

    @property
    def is_output(self) -> bool:
        return self.language == "text" and self.mark == "output"


def blocks_of(markdown: str) -> list[Block]:
    return [
        Block(
            match["language"],
            match["mark"] or "",
            match["text"],
            markdown.count("\n", 0, match.start("text")),
        )
        for match in _BLOCK.finditer(markdown)
    ]


def script_of(markdown: str) -> list[list[Fault]]:
    found = _FAULTS.search(markdown)
    plans = found[1].split("|") if found else []
    return [[Fault[name] for name in plan.split()] for plan in plans]


def run_page(
    markdown: str, name: str, server: FaultServer, fixture: Callable[[str], Any] | None = None
) -> int:
    """Runs a page and returns the number of blocks that were run."""
    namespace: dict[str, Any] = {"__name__": "example"}
    printed, count = "", 0
    try:
        for block in blocks_of(markdown):
            if block.runs:
                printed = run_block(block, name, server, namespace)
                count += 1
                call_tests(block, namespace, fixture)
            elif block.language == "python":
                compile(block.text, name, "exec")
            elif block.is_output:
                assert_printed(block, printed.replace(server.url, EXAMPLE), name)
    finally:
        close_all(namespace)
    return count


def run_block(block: Block, name: str, server: FaultServer, namespace: dict[str, Any]) -> str:
    # Line numbers as in the page, so that a traceback leads there.
    source = "\n" * block.line + block.text.replace(EXAMPLE, server.url)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, name, "exec"), namespace)
    return printed.getvalue()


def call_tests(block: Block, namespace: dict[str, Any], fixture: Callable[[str], Any] | None) -> None:
    for name in re.findall(r"^def (test_\w+)", block.text, re.MULTILINE):
        assert fixture is not None
        test = namespace[name]
        test(**{wanted: fixture(wanted) for wanted in inspect.signature(test).parameters})


def assert_printed(block: Block, printed: str, name: str) -> None:
    pattern = ".*?".join(re.escape(part) for part in block.text.strip().split("..."))
    assert re.fullmatch(pattern, printed.strip()), (
        f"{name}, line {block.line}: the page says\n{block.text}\nbut the example printed\n{printed}"
    )


def close_all(namespace: dict[str, Any]) -> None:
    """Pools that an example leaves open, as a reader's would be until the interpreter ends."""
    for value in namespace.values():
        if isinstance(value, type) or not type(value).__module__.startswith(_OURS_TO_CLOSE):
            continue
        for closer in _CLOSERS:
            with contextlib.suppress(AttributeError):
                getattr(value, closer)()
                break
    namespace.clear()
    gc.collect()


@pytest.fixture(autouse=True)
def _no_aws_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "example")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run_and_print_what_it_says(
    page: Path,
    fault_server: StartFaultServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    markdown = page.read_text("utf-8")
    run_page(markdown, str(page), fault_server(*script_of(markdown)), request.getfixturevalue)


# The runner itself: a test that cannot fail is none.


@pytest.fixture
def plain_server(fault_server: StartFaultServer) -> FaultServer:
    return fault_server()


def test_a_broken_example_fails(plain_server: FaultServer) -> None:
    with pytest.raises(ZeroDivisionError):
        run_page("text\n\n```python\n1 / 0\n```\n", "page", plain_server)


def test_an_example_sees_what_the_one_before_it_made(plain_server: FaultServer) -> None:
    assert run_page("```python\nx = 1\n```\n\n```python\nassert x == 1\n```\n", "page", plain_server) == 2


def test_a_test_in_an_example_is_called_with_its_fixtures(plain_server: FaultServer) -> None:
    page = "```python\ndef test_it(given):\n    assert given == 'fake_clock'\n```\n"
    run_page(page, "page", plain_server, lambda name: {"given": "fake_clock"}[name])
    with pytest.raises(AssertionError):
        run_page(page, "page", plain_server, lambda name: name)


def test_output_that_differs_fails(plain_server: FaultServer) -> None:
    page = "```python\nprint('one 1')\n```\n\n<!-- output -->\n\n```text\n{}\n```\n"
    run_page(page.format("one ..."), "page", plain_server)
    with pytest.raises(AssertionError, match="the page says"):
        run_page(page.format("two ..."), "page", plain_server)


def test_a_block_that_is_not_run_must_compile_and_give_a_reason(plain_server: FaultServer) -> None:
    page = "<!-- not run: needs a cluster -->\n\n```python\n{}\n```\n"
    assert run_page(page.format("1 / 0"), "page", plain_server) == 0
    with pytest.raises(SyntaxError):
        run_page(page.format("1 /"), "page", plain_server)
    with pytest.raises(ZeroDivisionError):
        run_page("<!-- not run -->\n```python\n1 / 0\n```\n", "page", plain_server)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_fence_escapes_the_runner(page: Path) -> None:
    markdown = page.read_text("utf-8")
    assert markdown.count("```python") == sum(block.language == "python" for block in blocks_of(markdown))
    assert markdown.count("<!-- output -->") == sum(block.is_output for block in blocks_of(markdown))


# The tables that are written by hand


WORDS: list[Enum] = [
    *holdfast.Verdict,
    *holdfast.CloseReason,
    *holdfast.Progress,
    *holdfast.Evidence,
    *holdfast.Phase,
    *holdfast.EndedBy,
    *holdfast.Cause,
]


@pytest.mark.parametrize("word", WORDS, ids=str)
def test_the_reference_explains_every_word_as_the_code_does(word: Enum) -> None:
    page = (ROOT / "docs/reference/words.md").read_text("utf-8")
    assert f"| `{word.name}` | {word.value} |" in page


@pytest.mark.parametrize("fault", list(Fault), ids=str)
def test_the_reference_names_every_fault(fault: Fault) -> None:
    page = (ROOT / "docs/reference/testing.md").read_text("utf-8")
    assert f"| `{fault.name}` | {fault.value} |" in page


@pytest.mark.parametrize(
    "kind",
    [holdfast.PoolLimits, holdfast.TcpKeepalive, holdfast.RetryPolicy, holdfast.RetryBudget, holdfast.Policy],
)
def test_the_reference_gives_every_default(kind: Any) -> None:
    page = (ROOT / "docs/reference/api.md").read_text("utf-8")
    for setting in fields(kind):
        default = getattr(kind(), setting.name)
        shown = f"{type(default).__name__}()" if hasattr(default, "__dataclass_fields__") else repr(default)
        if setting.name in {"clock", "sleep"}:
            shown = {"clock": "SYSTEM_CLOCK", "sleep": "time.sleep"}[setting.name]
        assert f"| `{setting.name}` | `{shown}` |" in page


@pytest.mark.parametrize("name", [*holdfast.__all__, *(f"events.{name}" for name in events.__all__)])
def test_the_reference_has_every_public_name(name: str) -> None:
    page = (ROOT / "docs/reference/api.md").read_text("utf-8")
    assert f"holdfast.{name}\n" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target
