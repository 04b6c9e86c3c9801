"""Bars with their spread, and curves, as SVG that needs no legend: every bar and line is named where it ends."""
import html
import math
import statistics

# Okabe and Ito's colours, distinct for all kinds of colour blindness; ours are blue, others warm.
COLOURS = {"ours": "#0072B2", "ours, plain": "#56B4E9", "f16": "#E69F00", "q8_0": "#D55E00", "q4_0": "#CC79A7", "other": "#999999"}
WIDTH, LEFT, BAR_MOST, ROW, HEAD = 960, 200, 440, 26, 44
FONT = "font-family='system-ui, sans-serif'"


def text(x, y, s, size=13, anchor="start", weight="normal", fill="#222"):
    return (f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' text-anchor='{anchor}' font-weight='{weight}' "
            f"fill='{fill}'>{html.escape(s)}</text>")


def number(v):
    return f"{v:,.0f}" if v >= 100 else f"{v:,.1f}"


def bars(title, subtitle, groups):
    """groups: [(heading, [(name, colour key, values, note)])]; a bar is the median of its values, a line their range. Each group
    has a scale of its own, from 0."""
    parts, y = [text(20, 32, title, 19, weight="bold"), text(20, 54, subtitle, 13, fill="#555")], 62
    for heading, rows in groups:
        y += HEAD
        parts.append(text(20, y - 12, heading, 14, weight="bold"))
        scale = BAR_MOST / max(max(values) for _, _, values, _ in rows)
        for name, colour, values, note in rows:
            mid, low, high = (f(values) * scale for f in (statistics.median, min, max))
            parts.append(text(LEFT - 8, y + 15, name, anchor="end"))
            parts.append(f"<rect x='{LEFT}' y='{y + 3}' width='{mid:.1f}' height='{ROW - 8}' fill='{COLOURS[colour]}'/>")
            parts.append(f"<path d='M{LEFT + low:.1f} {y + 12}H{LEFT + high:.1f}M{LEFT + low:.1f} {y + 8}v8M{LEFT + high:.1f} "
                         f"{y + 8}v8' stroke='#222' stroke-width='1.3' fill='none'/>")
            parts.append(text(LEFT + max(mid, high) + 8, y + 16, f"{number(statistics.median(values))} tokens/s{note}"))
            y += ROW
    height = y + 20
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'>\n"
            f"<title>{html.escape(title)}</title>\n<rect width='{WIDTH}' height='{height}' fill='#fff'/>\n" + "\n".join(parts) + "\n</svg>\n")


# ---- curves ----

# For lines that must be told apart without a legend at hand: colour, dash and marker together.
LINE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHES = ("", "6 3", "2 3")
PLOT = (90, 90, 560, 420)  # left, top, width, height


def ticks(low, high):
    """1, 2, 5 and their tenfolds between two numbers."""
    power = math.floor(math.log10(low))
    steps = [m * 10.0**p for p in range(power, math.ceil(math.log10(high)) + 1) for m in (1, 2, 5)]
    return [s for s in steps if low <= s <= high]


def curves(title, subtitle, families):
    """families: name -> [(x, y, standard error of y)]; both axes logarithmic. Each line is named at its end, in order of height."""
    left, top, width, height = PLOT
    points = [p for line in families.values() for p in line]
    x0, x1 = min(p[0] for p in points) * 0.9, max(p[0] for p in points) * 1.1
    y0, y1 = min(p[1] for p in points) * 0.7, max(p[1] for p in points) * 1.4
    at_x = lambda x: left + width * math.log(x / x0) / math.log(x1 / x0)
    at_y = lambda y: top + height * (1 - math.log(max(y, y0) / y0) / math.log(y1 / y0))
    parts = [text(20, 32, title, 19, weight="bold"), text(20, 54, subtitle, 13, fill="#555")]
    for v in ticks(x0, x1):
        parts.append(f"<path d='M{at_x(v):.1f} {top}v{height}' stroke='#e3e3e3'/>")
        parts.append(text(at_x(v), top + height + 20, f"{v:g}", 12, "middle", fill="#555"))
    for v in ticks(y0, y1):
        parts.append(f"<path d='M{left} {at_y(v):.1f}h{width}' stroke='#e3e3e3'/>")
        parts.append(text(left - 8, at_y(v) + 4, f"{v:g}", 12, "end", fill="#555"))
    taken = []
    order = sorted(families, key=lambda f: min(families[f])[1], reverse=True)
    for i, name in enumerate(order):
        line, colour, dash = sorted(families[name]), LINE_COLOURS[i % len(LINE_COLOURS)], DASHES[i // len(LINE_COLOURS) % len(DASHES)]
        path = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y, _ in line)
        parts.append(f"<path d='M{path}' stroke='{colour}' stroke-width='2' stroke-dasharray='{dash}' fill='none'/>")
        for x, y, se in line:
            parts.append(f"<path d='M{at_x(x):.1f} {at_y(y + se):.1f}V{at_y(max(y - se, y0)):.1f}' stroke='{colour}'/>")
            parts.append(f"<circle cx='{at_x(x):.1f}' cy='{at_y(y):.1f}' r='3.5' fill='{colour}'/>")
        label = max(at_y(line[0][1]), taken[-1] + 19 if taken else 0)
        taken.append(label)
        parts.append(f"<path d='M{left + width + 8} {label:.1f}h26' stroke='{colour}' stroke-width='2' stroke-dasharray='{dash}'/>")
        parts.append(text(left + width + 40, label + 4, name, 13))
    bottom = max([top + height + 36, *(t + 20 for t in taken)])
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{bottom:.0f}' viewBox='0 0 {WIDTH} {bottom:.0f}'>\n"
            f"<title>{html.escape(title)}</title>\n<rect width='{WIDTH}' height='{bottom:.0f}' fill='#fff'/>\n" + "\n".join(parts) +
            "\n</svg>\n")
