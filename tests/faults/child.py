"""Processes of the lab. One line of JSON asks, one answers; the first line is the configuration.

A child ends when its standard input ends, and the kernel kills it if its parent dies first.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Child", "answer", "configuration", "tie_to_parent"]

_HERE = Path(__file__).parent
_PR_SET_PDEATHSIG = 1
_PATIENCE = 10.0


class Child:
    """The parent's side: ``Child("pump.py", {...})`` runs a file of this directory."""

    def __init__(self, script: str, config: dict[str, Any], descriptors: Iterable[int] = ()) -> None:
        self._script = script
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=tuple(descriptors),
            text=True,
        )
        self.tell({**config, "parent": os.getpid()})

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Waits for the next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._script} ended with status {self._process.wait(_PATIENCE)}")
        return json.loads(line)

    def ask(self, **message: Any) -> Any:
        self.tell(message)
        return self.hear()

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it is gone already
            self._process.stdin.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def tie_to_parent(parent: int) -> None:
    """The child's side: to be killed when the parent ends, however it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before we said so


def configuration() -> dict[str, Any]:
    """The child's side: what it was started with."""
    config: dict[str, Any] = json.loads(sys.stdin.readline())
    tie_to_parent(config["parent"])
    return config


def answer(message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
