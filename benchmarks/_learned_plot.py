"""How limits are learned, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from _idle_client import Mind, run
from _idle_servers import SERVERS, THINKING, Server

__all__ = ["SHOWN", "plot"]

_BLUE, _GREY, _RED = "#2166ac", "#777777", "#b2182b"

SHOWN = {
    "Tomcat: 5 s, 0 to 2 s late": 600,
    "restarted every 30 to 90 s: 5 s": 600,
    "changed: 10, 4, 15, 16 s": 3200,
}
"""With how many requests."""


def plot(stale: Sequence[tuple[str, float, float]], bound: float, file: str) -> None:
    """``stale``: by server, uses per 1,000 requests without and with learning."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    grid = figure.add_gridspec(2, len(SHOWN), height_ratios=(1, 1.25))
    panels = [figure.add_subplot(grid[0, column]) for column in range(len(SHOWN))]
    for axes, (name, requests) in zip(panels, SHOWN.items(), strict=True):
        _draw_learning(axes, next(one for one in SERVERS if one.name == name), requests)
    panels[0].set_ylabel("seconds idle")
    panels[0].legend(loc="lower right", fontsize=8, frameon=False)
    _draw_stale(figure.add_subplot(grid[1, :]), stale, bound)
    figure.savefig(file, dpi=80)


def _draw_learning(axes: Axes, server: Server, requests: int) -> None:
    counts = run(server, Mind.LEARNING, THINKING["worst"], requests=requests)
    began = counts.allowed[0][0]
    at = [(when - began) / 60 for when, _ in counts.allowed]
    axes.plot(
        [(when - began) / 60 for when, _ in counts.ends],
        [age for _, age in counts.ends],
        ".",
        color=_GREY,
        markersize=3,
        label="a connection ended",
    )
    limit = [server.known(when) for when, _ in counts.allowed]
    axes.plot(at, limit, color=_RED, linewidth=1, linestyle="--", label="the real limit")
    allowed = [seconds if seconds < math.inf else math.nan for _, seconds in counts.allowed]
    axes.plot(at, allowed, color=_BLUE, linewidth=1.4, drawstyle="steps-post", label="may lie idle")
    axes.set_title(server.name, size=10)
    axes.set_xlabel("minutes")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_stale(axes: Axes, stale: Sequence[tuple[str, float, float]], bound: float) -> None:
    names = [name for name, _, _ in stale]
    for column, colour, label in ((1, _GREY, Mind.BLIND.value), (2, _BLUE, Mind.LEARNING.value)):
        axes.plot([row[column] for row in stale], names, "o", color=colour, label=label, alpha=0.85)
    axes.axvline(bound, color=_RED, linewidth=1, linestyle="--")
    axes.set_xscale("symlog", linthresh=1, linscale=0.6)
    axes.set_xlim(-0.05, 1000)
    axes.set_xlabel("stale uses per 1,000 requests, thinking times within 10 % of the limit")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(loc="upper right", fontsize=8, frameon=False)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
