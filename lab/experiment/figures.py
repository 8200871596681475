"""The figures of a directory, from its samples.csv and summary.csv alone: PDF for papers, PNG for looking at.

    ttfb-cdf       how long requests took, each algorithm a curve
    gain-cdf       what each pair gained, its two requests compared
    gain-by-city   mean gain with its interval, and the margin within which nothing counts
    paths          which ways each city's requests took, by algorithm

matplotlib is an extra (`plot`): only this module imports it, and only when a figure is drawn.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.experiment.comparing import shares
from lab.experiment.files import ALL, FIGURES, Results, Row, read
from lab.experiment.stats import MARGIN_MS, MARGIN_SHARE, mean
from lab.experiment.summary import OVERLAY, TTFB, measured, pairs_of, value

# Okabe and Ito's colours, which colour-blind readers tell apart; the baseline is grey.
_GREY = "#6e6e6e"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")
_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "popnet",
}

_WORDS = {TTFB: "time to the first byte", OVERLAY: "round trip"}

_COLUMNS = 3
# Width of a letter of a path, as a share of a panel.
_LETTER = 0.031


class NoPlotError(Exception):
    """matplotlib is not installed."""


def draw(directory: Path, kinds: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Redraw all figures. Returns the files. Raises LabError for a directory without results, or NoPlotError."""
    results = read(directory)
    pyplot = _pyplot()
    folder = directory / FIGURES
    folder.mkdir(exist_ok=True)
    written = []
    for name, plot in (
        ("ttfb-cdf", _ttfb),
        ("gain-cdf", _gains),
        ("gain-by-city", _cities),
        ("paths", _paths),
    ):
        with pyplot.rc_context(_STYLE):
            figure = plot(pyplot, results)
            for kind in kinds:
                path = folder / f"{name}.{kind}"
                # No date inside: the same results give the same file.
                about: dict[str, Any] = {"CreationDate": None} if kind == "pdf" else {}
                figure.savefig(path, bbox_inches="tight", metadata=about)
                written.append(path)
            pyplot.close(figure)
    return written


def _pyplot() -> Any:
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise NoPlotError(
            f"{error}; figures need matplotlib: pip install 'popnet[plot]', then `popnet plot DIR`"
        ) from None


def _names(results: Results) -> list[str]:
    return list(dict.fromkeys(one.algorithm for one in results.samples))


def _baseline(results: Results) -> str:
    return str(results.summary["baseline"])


def _colours(results: Results) -> dict[str, str]:
    base = _baseline(results)
    others = [name for name in _names(results) if name != base]
    return {base: _GREY} | {
        name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(others)
    }


def _width(results: Results, name: str) -> float:
    """Later curves are thinner, so that those below can be seen where they are the same."""
    return 1.2 + 1.1 * (len(_names(results)) - 1 - list(_colours(results)).index(name))


def _subtitle(results: Results) -> str:
    summary = results.summary
    seeds = len(summary.get("seeds", [])) or 1
    return f"{summary['world']}, {summary['driver']}, {seeds} seed{'s' if seeds > 1 else ''}"


def _headline(axes: Any, results: Results, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", pad=20)
    axes.text(0, 1.02, _subtitle(results), transform=axes.transAxes, color="#555555", va="bottom")


def _legend(axes: Any) -> None:
    """Beside the curves: inside, it would hide some of them sooner or later."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), borderaxespad=0)


def _cdf(axes: Any, values: Sequence[float], **style: Any) -> None:
    """Steps from 0 to 1, with lines to the left and right edge left out."""
    ordered = sorted(values)
    shares_ = [(number + 1) / len(ordered) for number in range(len(ordered))]
    axes.step([ordered[0], *ordered], [0.0, *shares_], where="post", **style)


def _ttfb(pyplot: Any, results: Results) -> Any:
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    for name, colour in _colours(results).items():
        values = [
            ms
            for one in results.samples
            if one.algorithm == name and (ms := value(one, TTFB)) is not None
        ]
        if values:
            _cdf(
                axes,
                values,
                color=colour,
                linewidth=_width(results, name),
                label=f"{name}\nmean {mean(values):.1f} ms",
            )
    axes.set_xlabel("time to the first byte, ms (warm connection)")
    axes.set_ylabel("share of requests")
    axes.set_ylim(0, 1.01)
    axes.set_xlim(left=0)
    _legend(axes)
    _headline(axes, results, "Time to the first byte")
    return figure


def _gains(pyplot: Any, results: Results) -> Any:
    figure, axes = pyplot.subplots(figsize=(6.4, 3.8))
    base = _baseline(results)
    pairs, colours = pairs_of(results.samples, base), _colours(results)
    axes.axvline(0, color="#333333", linewidth=0.8)
    for name, mine in pairs.items():
        gains = [before - after for _, before, after in measured(mine, TTFB)]
        if gains:
            worse = sum(gain < -MARGIN_MS for gain in gains) / len(gains)
            better = sum(gain > MARGIN_MS for gain in gains) / len(gains)
            label = f"{name}\n{100 * better:.0f} % faster, {100 * worse:.0f} % slower by 1 ms"
            _cdf(axes, gains, color=colours[name], linewidth=_width(results, name), label=label)
    axes.set_xlabel(f"slower  <  0  <  faster than {base}, ms")
    axes.set_ylabel("share of pairs")
    axes.set_ylim(0, 1.01)
    _legend(axes)
    _headline(axes, results, "Gain of each pair of requests")
    return figure


def _cities(pyplot: Any, results: Results) -> Any:
    # A replay knows round trips only.
    metric = TTFB if any(row.metric == TTFB for row in results.rows) else OVERLAY
    rows = [row for row in results.rows if row.metric == metric and row.gain_ms is not None]
    algorithms = list(dict.fromkeys(row.algorithm for row in rows))
    largest: dict[str, float] = {}
    for row in rows:
        largest[row.group] = max(largest.get(row.group, -math.inf), row.gain_ms or 0.0)
    cities = sorted((name for name in largest if name != ALL), key=lambda name: largest[name])
    # From below upwards, so that everything stands on top and the largest gain below it.
    groups = [*cities, ALL]
    figure, axes = pyplot.subplots(figsize=(6.4, 1.4 + 0.36 * len(groups)))
    base = mean(
        [
            ms
            for one in results.samples
            if one.algorithm == _baseline(results) and (ms := value(one, metric)) is not None
        ]
    )
    within = max(MARGIN_MS, MARGIN_SHARE * base)
    axes.axvspan(
        -within, within, color="#efefef", zorder=0, label=f"margin of all, {within:.1f} ms"
    )
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.axhline(len(groups) - 1.5, color="#bbbbbb", linewidth=0.8)
    for number, name in enumerate(algorithms):
        shift = (number - (len(algorithms) - 1) / 2) * 0.6 / max(1, len(algorithms))
        mine = {row.group: row for row in rows if row.algorithm == name}
        named = ALL if ALL in mine else next(iter(mine))
        for group, row in mine.items():
            _whisker(
                axes,
                row,
                groups.index(group) - shift,
                _colours(results)[name],
                f"{name}: {row.verdict}" if group == named else None,
            )
    everything = "all cities" if metric == TTFB else "all pairs"
    axes.set_yticks(range(len(groups)), [everything if g == ALL else g for g in groups])
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.set_xlabel(f"gain over {_baseline(results)}, ms of the {_WORDS[metric]}")
    _legend(axes)
    _headline(axes, results, "Mean gain with its 95 % interval")
    return figure


def _whisker(axes: Any, row: Row, y: float, colour: str, label: str | None) -> None:
    x = row.gain_ms or 0.0
    if row.gain_lo is not None and row.gain_hi is not None:
        axes.plot([row.gain_lo, row.gain_hi], [y, y], color=colour, linewidth=2)
        for end in (row.gain_lo, row.gain_hi):
            axes.plot([end, end], [y - 0.12, y + 0.12], color=colour, linewidth=1.2)
    filled = row.gain_lo is not None
    axes.plot(
        [x],
        [y],
        "o" if row.group != ALL else "D",
        color=colour,
        markerfacecolor=colour if filled else "white",
        markersize=5,
        label=label,
    )


def _paths(pyplot: Any, results: Results) -> Any:
    found = shares(results.samples)
    cities = sorted({city for by_city in found.values() for city in by_city}, reverse=True)
    names = [name for name in _names(results) if name in found]
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    inches = 0.5 + 0.3 * len(cities)
    figure, every = pyplot.subplots(
        rows,
        columns,
        figsize=(1.2 + 2.7 * columns, (inches + 0.5) * rows),
        sharey=True,
        squeeze=False,
        gridspec_kw={"hspace": 0.5 / inches + 0.12, "wspace": 0.2},
    )
    relays = _relay_colours(found)
    panels = list(every.flat)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        for y, city in enumerate(cities):
            left = 0.0
            for path, share in found[name].get(city, {}).items():
                by = _relays(path)
                axes.barh(y, share, left=left, height=0.76, color=relays[by], edgecolor="white")
                if share > _LETTER * (len(path) + 2):
                    axes.text(
                        left + share / 2,
                        y,
                        path.replace(">", " › "),
                        ha="center",
                        va="center",
                        fontsize=6.5,
                        color="white" if by else "#222222",
                    )
                left += share
        axes.set_title(name, fontsize=9, loc="left")
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.5, 1], ["0", "50", "100 %"])
        axes.grid(visible=False)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.set_yticks(range(len(cities)), cities)
    patches = [
        pyplot.Rectangle((0, 0), 1, 1, color=colour, label=f"via {by}" if by else "no relay")
        for by, colour in relays.items()
    ]
    # In inches below the top, whatever the height.
    high = figure.get_figheight()
    top = figure.subplotpars.top
    figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(0.91, top), fontsize=8, frameon=False
    )
    left_ = figure.subplotpars.left
    figure.text(left_, top + 0.56 / high, "Ways that requests took", fontsize=11, weight="bold")
    figure.text(left_, top + 0.36 / high, _subtitle(results), color="#555555")
    return figure


def _relays(path: str) -> str:
    return "+".join(path.split(">")[1:-1])


def _relay_colours(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, str]:
    """The most used relays have a colour each; no relay is pale, and the rest share one."""
    weight: dict[str, float] = {}
    for by_city in found.values():
        for by_path in by_city.values():
            for path, share in by_path.items():
                weight[_relays(path)] = weight.get(_relays(path), 0.0) + share
    ordered = sorted((by for by in weight if by), key=lambda by: (-weight[by], by))
    colours = {"": "#d5d5d5"} if "" in weight else {}
    for number, by in enumerate(ordered):
        colours[by] = _COLOURS[number] if number < len(_COLOURS) else "#999999"
    return colours
