# SPDX-License-Identifier: GPL-2.0
"""Curves of both modules as an SVG picture: small panels with logarithmic axes."""

from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 300, 210            # of a panel
LEFT, TOP, RIGHT, BOTTOM = 48, 30, 12, 34
STYLES = {"C": "#c0392b", "Rust": "#1f5fa8"}


def number(value):
    """1, 1k, 1M, 0.1"""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{suffix}"
    return f"{value:g}"


class Axis:
    """Places values between two ends, whole powers of ten apart."""

    def __init__(self, values, start, end):
        self.low, self.high = floor(log10(min(values))), ceil(log10(max(values)))
        self.high = max(self.high, self.low + 1)
        self.start, self.end = start, end

    def at(self, value):
        share = (log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        return [10.0 ** e for e in range(self.low, self.high + 1)]


def panel(title, unit, curves):
    """`curves`: a list of (size, value) for each module."""
    points = [point for curve in curves.values() for point in curve]
    x = Axis([p[0] for p in points], LEFT, WIDTH - RIGHT)
    y = Axis([p[1] for p in points], HEIGHT - BOTTOM, TOP)
    out = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>',
           f'<text x="{WIDTH - RIGHT}" y="16" text-anchor="end" fill="#666">{escape(unit)}</text>']
    for tick in x.ticks():
        at = x.at(tick)
        out.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e5e5"/>'
                   f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{number(tick)}</text>')
    for tick in y.ticks():
        at = y.at(tick)
        out.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>'
                   f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for name, curve in curves.items():
        if not curve:
            continue
        places = [(x.at(n), y.at(value)) for n, value in curve]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        out.append(f'<polyline points="{line}" fill="none" stroke="{STYLES[name]}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{STYLES[name]}"/>' for a, b in places]
    return "\n".join(out)


def picture(heading, panels, columns=3):
    """An SVG of (title, unit, curves) panels."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = columns * WIDTH, rows * HEIGHT + 30
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           f'width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="13">{escape(heading)}</text>']
    for index, (name, colour) in enumerate(STYLES.items()):
        at = width - 130 + 60 * index
        out.append(f'<circle cx="{at}" cy="16" r="4" fill="{colour}"/><text x="{at + 8}" y="20">{name}</text>')
    for index, one in enumerate(panels):
        row, column = divmod(index, columns)
        out.append(f'<g transform="translate({column * WIDTH} {row * HEIGHT + 30})">\n{panel(*one)}\n</g>')
    return "\n".join(out + ["</svg>", ""])
