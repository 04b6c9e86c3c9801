"""Bars with their spread, as an SVG that needs no legend: every bar is named, and its figures stand at its end."""
import html
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
