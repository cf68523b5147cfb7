"""Run urllib3's and requests' own test suites, bare and wrapped, and compare test by test.

    python run.py [--python INTERPRETER] [--only urllib3|requests] [--work DIRECTORY]

Exit status 1: a test which passes bare does not pass wrapped, also when run again alone,
or nothing was wrapped. A test which does not pass bare is not counted.

A few tests (switched_off.txt) look at what a wrapped pool does otherwise by default and can be told
not to. They run wrapped with that switched off, and have to pass so.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

LANE = Path(__file__).resolve().parent
CHECKOUT = LANE.parents[1]
VERSIONS = {"urllib3": "2.8.0", "requests": "2.34.2"}
TEST_DIRECTORY = {"urllib3": "test", "requests": "tests"}
PLUGINS = {"urllib3": ["loopback_only", "hypercorn_extensions"], "requests": ["loopback_only"]}
PER_TEST_SECONDS = 60
PER_RUN_SECONDS = 600

Outcomes = dict[str, str]  # pytest id -> passed, failed, skipped (which includes xfailed)


def call(*command: str | Path) -> None:
    print("+", shlex.join(map(str, command)), flush=True)
    subprocess.run(command, check=True)


def prepare(work: Path, interpreter: str, source: Path) -> Path:
    """A virtual environment with both peers, their tests' needs and the checkout's holdfast."""
    python = work / "venv" / "bin" / "python"
    if not python.exists():
        call(interpreter, "-m", "venv", work / "venv")
    pins = [f"{name}=={version}" for name, version in VERSIONS.items()]
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    call(*pip, "install", "--requirement", LANE / "requirements.txt", *pins)
    call(*pip, "install", source)
    call(*pip, "install", "--force-reinstall", "--no-deps", source)
    for name, version in VERSIONS.items():
        sdist = work / f"{name}-{version}.tar.gz"
        if not sdist.exists():
            # Only the peers: "--no-binary :all:" would build their build backends as well.
            call(*pip, "download", "--no-deps", "--no-binary", ",".join(VERSIONS),
                 "--dest", work, f"{name}=={version}")  # fmt: skip
        if not (work / f"{name}-{version}").exists():
            with tarfile.open(sdist) as archive:
                archive.extractall(work, filter="data")
    return python


def listed(file: str, suite: str) -> list[str]:
    tests = []
    for line in (LANE / file).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            entry_suite, test, _reason = line.split(maxsplit=2)  # an entry needs a reason
            if entry_suite == suite:
                tests.append(test)
    return tests


def read_outcomes(log: Path) -> Outcomes:
    outcomes: Outcomes = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        entry = json.loads(line)
        if entry.get("$report_type") != "TestReport":
            continue
        test, outcome = entry["nodeid"], entry["outcome"]
        if "wasxfail" in entry:
            outcome = "skipped"
        if outcome != "passed" or entry["when"] == "call":  # a teardown may fail a passed test
            outcomes[test] = outcome
        else:
            outcomes.setdefault(test, "failed")  # as long as it was only set up
    return outcomes


def run(python: Path, work: Path, suite: str, name: str, tests: list[str], without: list[str]) -> Outcomes:
    log = work / f"{suite}-{name}.jsonl"
    log.unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment.update(PYTHONPATH=str(LANE), PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1")
    plugins = list(PLUGINS[suite])
    if name != "bare":
        plugins.append("wrap_everything")
        environment.update(PEER_WRAP=suite, PEER_WRAP_COUNTS=str(work / f"{suite}-{name}.json"))
        environment.update(PEER_WRAP_SWITCHED_OFF=str(name == "switched-off"))
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--timeout={PER_TEST_SECONDS}", f"--report-log={log}", "--disable-warnings"]
    command += [word for plugin in plugins for word in ("-p", plugin)]
    directory = work / f"{suite}-{VERSIONS[suite]}"
    end: int | str
    start = time.monotonic()
    with (work / f"{suite}-{name}.txt").open("w") as output:
        try:
            end = subprocess.run(
                [*command, *(word for test in without for word in ("--deselect", test)), *tests],
                check=False,
                cwd=directory,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PER_RUN_SECONDS,
            ).returncode
        except subprocess.TimeoutExpired:
            end = "timeout"
    seconds = time.monotonic() - start
    print(f"{suite}, {name}: {seconds:.0f} s, exit {end}, see {output.name}", flush=True)
    if name == "bare" and end not in {0, 1}:  # 0 and 1: every test ran
        sys.exit(f"{suite}: the bare run did not reach its end, there is nothing to compare with")
    return read_outcomes(log)


def compare(python: Path, work: Path, suite: str) -> tuple[str, list[str]]:
    """A line of the table, and what is wrong."""
    everything = [TEST_DIRECTORY[suite]]
    counts_file = work / f"{suite}-wrapped.json"
    counts_file.unlink(missing_ok=True)
    without = listed("deselected.txt", suite)
    exact = listed("switched_off.txt", suite)
    bare = run(python, work, suite, "bare", everything, without)
    wrapped = run(python, work, suite, "wrapped", everything, without + exact)
    if exact:
        wrapped |= run(python, work, suite, "switched-off", exact, without)

    candidates = [test for test in bare if bare[test] == "passed" != wrapped.get(test)]
    again = run(python, work, suite, "again", candidates, without) if candidates else {}
    regressions = [test for test in candidates if again.get(test) != "passed"]
    problems = [f"regression: {test}: {wrapped.get(test, 'missing')}" for test in regressions]
    for test in candidates:
        if test not in regressions:
            print(f"flaky, not counted: {test}: {wrapped.get(test)}, then passed wrapped and alone")
    for test in (test for test in bare if bare[test] == "failed"):
        print(f"fails bare, not counted: {test}")

    counts = json.loads(counts_file.read_text()) if counts_file.exists() else {}
    print(f"{suite}, wrapped: {counts}")
    if not counts.get("objects wrapped") or not counts.get("requests wrapped"):
        problems.append("nothing was wrapped")
    elif counts.get("requests bare", 0) > 0.02 * counts["requests wrapped"]:
        problems.append("requests of wrapped pools went over bare connections")
    row = f"{suite:10}"
    for outcomes in (bare, wrapped):
        total = Counter(outcomes.values())
        row += f"{total['passed']:8}{total['failed']:8}{total['skipped']:8}  "
    return row + f"{len(regressions):12}", [f"{suite}: {problem}" for problem in problems]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="default: this one")
    parser.add_argument("--only", choices=VERSIONS, help="default: both suites")
    parser.add_argument("--work", type=Path, default=CHECKOUT / ".ci" / "work" / "peer_suites")
    parser.add_argument("--source", type=Path, default=CHECKOUT, help="the holdfast to install")
    options = parser.parse_args()

    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = prepare(work, options.python, options.source.resolve())
    rows, problems = [], []
    for suite in [options.only] if options.only else VERSIONS:
        row, found = compare(python, work, suite)
        rows.append(row)
        problems += found
    print(f"\n{'':10}{'bare':>12}{'':14}{'wrapped':>12}")
    print(f"{'suite':10}" + f"{'passed':>8}{'failed':>8}{'skipped':>8}  " * 2 + f"{'regressions':>12}")
    print("\n".join(rows + problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
