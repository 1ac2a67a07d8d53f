# SPDX-License-Identifier: GPL-2.0
"""Curves of both modules as an SVG picture: small panels with logarithmic axes."""

from math import ceil, floor, log10

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

# The same figures make the same file. Text stays text, so that it can be searched.
matplotlib.rcParams.update({"svg.hashsalt": "cttimeout", "svg.fonttype": "none",
                            "font.sans-serif": ["DejaVu Sans"], "font.size": 8, "axes.titlesize": 9})
STYLES = {"C": ("#c0392b", "o"), "Rust": ("#1f5fa8", "s")}


def draw(axes, title, unit, curves):
    """One panel. `curves`: a list of (number of policies, value) for each module."""
    values = [value for curve in curves.values() for _, value in curve]
    for name, curve in curves.items():
        colour, marker = STYLES[name]
        axes.loglog([size for size, _ in curve], [value for _, value in curve],
                    color=colour, marker=marker, markersize=3, label=name)
    low = floor(log10(min(values)))
    axes.set(title=title, xlabel="policies", ylabel=unit,
             ylim=(10 ** low, 10 ** max(ceil(log10(max(values))), low + 1)))
    for axis in axes.xaxis, axes.yaxis:
        axis.set_major_formatter(EngFormatter(sep=""))      # 1, 1k, 1M
    axes.minorticks_off()
    axes.grid(color="#e5e5e5")


def picture(path, heading, unit, panels, columns=3):
    """Writes an SVG of (title, curves) panels."""
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3 * columns, 2 * rows + 0.3), layout="constrained")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=10)
    for index, (title, curves) in enumerate(panels):
        draw(figure.add_subplot(rows, columns, index + 1), title, unit, curves)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="upper right", ncols=len(STYLES),
                  frameon=False, borderpad=0)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
