"""The ratios as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from _field import PAIRS, REFERENCE, USUAL, Contestant, Workload, label
from _result import LIMIT, Ratio, Result

__all__ = ["plot"]

_BLUE, _GREY, _RED = "#2166ac", "#777777", "#b2182b"


def plot(result: Result, file: str) -> None:
    """Above: wrapped to bare, where percents count. Below: all clients, where they do not."""
    figure = Figure(figsize=(1.5 + 4.5 * len(USUAL), 7), layout="constrained")
    rows = figure.subplots(
        2,
        len(USUAL),
        sharex="row",
        sharey="row",
        squeeze=False,
        height_ratios=(len(PAIRS), len(Contestant)),
    )
    for workload, upper, lower in zip(USUAL, *rows, strict=True):
        _draw_twins(upper, result, workload)
        _draw_field(lower, result, workload)
    _fit(rows[0][0], (0.96, LIMIT))
    _fit(rows[1][0], (0.0, 1.0))
    figure.suptitle(
        f"Time of a keep-alive request (dot: median of heats; bar: its range, {result.confidence:.0%} sure)"
    )
    figure.supxlabel("\n".join(result.setting.split("; ")), size=7, color=_GREY)
    figure.savefig(file, dpi=130)


def _draw_twins(axes: Axes, result: Result, workload: Workload) -> None:
    ratios = {label(one): result.ratio(workload, one, twin) for one, twin in PAIRS.items()}
    axes.axvline(LIMIT, color=_RED, linewidth=1, linestyle="--")
    axes.annotate(f"limit {LIMIT}", (LIMIT, 1.01), xycoords=("data", "axes fraction"), color=_RED, size=8)
    _dots(axes, ratios, {label(Contestant.POOL_AGAIN)}, digits=3)
    axes.set_title(workload.value + "\n", size=11)
    axes.set_xlabel("times the same client bare")


def _draw_field(axes: Axes, result: Result, workload: Workload) -> None:
    ratios = {one.value: result.ratio(workload, one, REFERENCE) for one in Contestant}
    _dots(axes, ratios, {one.value for one in Contestant if not one.wrapped}, digits=2)
    axes.set_xlabel("times a bare urllib3 pool")


def _dots(axes: Axes, ratios: Mapping[str, Ratio], bare: AbstractSet[str], *, digits: int) -> None:
    axes.axvline(1, color="black", linewidth=0.8)
    for row, ratio in ratios.items():
        colour = _GREY if row in bare else _BLUE
        axes.plot([ratio.low, ratio.high], [row, row], color=colour, linewidth=2.5, alpha=0.4)
        axes.plot([ratio.middle], [row], "o", color=colour)
        axes.annotate(
            f"{ratio.middle:.{digits}f}",
            (max(ratio.high, ratio.middle), row),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            size=8,
            color=colour,
            # The lines at 1 and at the limit pass behind the number.
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=7)
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)


def _fit(axes: Axes, shown: tuple[float, float]) -> None:
    """``shown`` belongs in the picture whatever the numbers; on the right, room for the last number."""
    low, high = axes.get_xlim()
    low, high = min(low, shown[0]), max(high, shown[1])
    axes.set_xlim(low, high + 0.12 * (high - low))
    axes.invert_yaxis()
