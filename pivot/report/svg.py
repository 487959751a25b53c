"""Two small SVG charts, stacked bars and lines, coloured by the page's style sheet.

Every chart has a title and a description for those who don't see it; all text is escaped.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 12.0, 36.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One column: its label, stacked (style class, value) parts from the bottom, what stands above, a tooltip."""

    label: str
    parts: tuple[tuple[str, float], ...]
    caption: str
    tooltip: str


@dataclass(frozen=True, slots=True)
class Line:
    """A named series of (x, y) points; `dots` draws points that are far apart as dots too."""

    name: str
    style: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False


def number(value: float) -> str:
    """A short form for axes and labels: 0.25, 1,200, 3.1e-06."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size < 0.001:
        return f"{value:.1e}"
    return f"{value:.3g}"


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values that span [low, high], about `count` steps apart."""
    if not high > low:
        pad = abs(low) * 0.5 or 1.0
        low, high = low - pad, high + pad
    raw = (high - low) / count
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def bars(title: str, description: str, columns: Sequence[Bar], x_title: str, y_title: str) -> Markup:
    """Stacked columns over a zero line."""
    width, height = 640.0, 260.0
    top = max((sum(value for _, value in column.parts) for column in columns), default=0.0)
    marks = ticks(0.0, top or 1.0)
    plot_w, plot_h = width - LEFT - RIGHT, height - TOP - 16 - BOTTOM
    base = TOP + 16 + plot_h
    slot = plot_w / max(len(columns), 1)
    thick = min(slot * 0.72, 44.0)
    parts = [_grid(marks, 0.0, marks[-1], width, base, plot_h)]
    for index, column in enumerate(columns):
        x = LEFT + slot * index + (slot - thick) / 2
        y = base
        parts.append(Markup("<g><title>{}</title>").format(column.tooltip))
        for style, value in column.parts:
            tall = plot_h * value / marks[-1]
            y -= tall
            parts.append(
                Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                    style, x, y, thick, tall
                )
            )
        middle = x + thick / 2
        parts.append(
            Markup('<text class="value" x="{:.1f}" y="{:.1f}">{}</text>').format(middle, y - 4, column.caption)
        )
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{:.1f}">{}</text></g>').format(middle, base + 14, column.label)
        )
    parts.append(
        Markup('<text class="axis" x="{:.1f}" y="{:.1f}">{}</text>').format(LEFT + plot_w / 2, height - 4, x_title)
    )
    parts.append(Markup('<text class="axis start" x="2" y="11">{}</text>').format(y_title))
    return _frame(title, description, width, height, parts)


def lines(title: str, description: str, series: Sequence[Line], *, floor: float | None = None) -> Markup:
    """Lines over steps; points that are not finite are left out."""
    width, height = 360.0, 200.0
    finite = [
        Line(line.name, line.style, tuple(p for p in line.points if math.isfinite(p[1])), line.dots) for line in series
    ]
    points = [point for line in finite for point in line.points]
    if not points:
        return _frame(
            title, description, width, 24.0, [Markup('<text class="axis start" x="2" y="16">no values</text>')]
        )
    ys = [y for _, y in points] + ([floor] if floor is not None else [])
    marks = ticks(min(ys), max(ys), 3)
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    plot_w, plot_h = width - LEFT - RIGHT, height - TOP - BOTTOM
    base = TOP + plot_h

    def place(x: float, y: float) -> str:
        across = (x - first) / (last - first) if last > first else 0.5
        return f"{LEFT + plot_w * across:.1f},{base - plot_h * (y - marks[0]) / (marks[-1] - marks[0]):.1f}"

    parts = [_grid(marks, marks[0], marks[-1], width, base, plot_h)]
    for line in finite:
        drawn = " ".join(place(x, y) for x, y in line.points)
        parts.append(
            Markup('<polyline class="line {}" points="{}"><title>{}</title></polyline>').format(
                line.style, drawn, line.name
            )
        )
        if line.dots or len(line.points) == 1:
            for x, y in line.points:
                cx, cy = place(x, y).split(",")
                label = f"{line.name}, step {number(x)}: {number(y)}"
                parts.append(
                    Markup('<circle class="dot {}" cx="{}" cy="{}" r="3"><title>{}</title></circle>').format(
                        line.style, cx, cy, label
                    )
                )
    for x, anchor in ((first, "start"), (last, "end")):
        at = place(x, marks[0]).split(",")[0]
        parts.append(
            Markup('<text class="tick {}" x="{}" y="{:.1f}">{}</text>').format(anchor, at, base + 14, number(x))
        )
    parts.append(Markup('<text class="axis" x="{:.1f}" y="{:.1f}">step</text>').format(LEFT + plot_w / 2, base + 14))
    return _frame(title, description, width, height - 14, parts)


def _grid(marks: Sequence[float], low: float, high: float, width: float, base: float, plot_h: float) -> Markup:
    parts = []
    for mark in marks:
        y = base - plot_h * (mark - low) / (high - low)
        parts.append(
            Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
                LEFT, width - RIGHT, y, y
            )
        )
        parts.append(
            Markup('<text class="tick end" x="{:.1f}" y="{:.1f}">{}</text>').format(LEFT - 6, y + 4, number(mark))
        )
    return Markup("").join(parts)


def _frame(title: str, description: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg role="img" viewBox="0 0 {:.0f} {:.0f}" aria-label="{}"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(width, height, f"{title}. {description}", title, description, Markup("").join(parts))
