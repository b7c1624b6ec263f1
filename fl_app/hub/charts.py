"""Line charts as SVG, small enough to be drawn anew every second; their colours are the page's, by classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from fl_app.system.printable import one_line

WIDTH, HEIGHT = 440, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 32
_TICKS = 4


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, and its points in order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(title: str, lines: Sequence[Line], x: str = "round") -> Markup:
    """Draw lines over whole numbers; the text says what they show to whoever cannot see it.

    Parameters
    ----------
    title
        What is drawn, the axis of y.
    lines
        At most eight; those without points are left out.
    x
        What the axis of x counts.
    """
    drawn = [line for line in lines if line.points][:8]
    if not drawn:
        return Markup('<p class="note">nothing to draw yet</p>')
    xs, ys = ([point[axis] for line in drawn for point in line.points] for axis in (0, 1))
    left, right, (bottom, top) = min(xs), max(max(xs), min(xs) + 1), _range(min(ys), max(ys))

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = _LEFT + (point[0] - left) / (right - left) * (WIDTH - _LEFT - _RIGHT)
        up = (point[1] - bottom) / (top - bottom)
        return round(across, 1), round(_TOP + (1 - up) * (HEIGHT - _TOP - _BOTTOM), 1)

    parts = []
    for step in range(_TICKS + 1):
        value = bottom + (top - bottom) * step / _TICKS
        _, y = place((left, value))
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{value:.3g}</text>')
    for value in dict.fromkeys((left, round((left + right) / 2), right)):
        across, _ = place((value, bottom))
        text = f'<text class="tick" x="{across}" y="{HEIGHT - 14}" text-anchor="middle">{value:.0f}</text>'
        parts.append(text)
    parts.append(f'<text class="tick" x="{WIDTH - _RIGHT}" y="{HEIGHT - 1}" text-anchor="end">{escape(x)}</text>')
    for number, line in enumerate(drawn, start=1):
        places = [place(point) for point in line.points]
        path = "L".join(f"{across} {up}" for across, up in places)
        parts.append(f'<path class="line series-{number}" d="M{path}"/>')
        across, up = places[-1]
        parts.append(f'<circle class="end series-{number}" cx="{across}" cy="{up}" r="3.5"/>')
    said = "; ".join(f"{one_line(line.name)}: {line.points[-1][1]:.4g}" for line in drawn)
    names = "".join(
        f'<li class="series-{number}">{escape(one_line(line.name))} <b>{line.points[-1][1]:.4g}</b></li>'
        for number, line in enumerate(drawn, start=1)
    )
    label = escape(f"{one_line(title)} by {x}, last values: {said}")
    return Markup(  # noqa: S704 - every text in it is escaped above, the rest are numbers
        f'<figure class="chart"><figcaption>{escape(one_line(title))}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f'<ul class="legend">{names}</ul></figure>'
    )


def _range(low: float, high: float) -> tuple[float, float]:
    """Return the ends of the axis: a little more than what is drawn, and never nothing."""
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 0.5
    return low - margin, high + margin
