"""Draw one column of the weather, day by day, as coloured stripes: a row a year."""

COLUMNS = {"max_c": "warmest hour, °C", "min_c": "coldest hour, °C", "wind_ms": "wind, m/s"}
COLD, MILD, WARM = (33, 88, 163), (247, 244, 230), (178, 24, 43)


async def run(column: str = "max_c") -> str:
    """Returns the drawing as SVG.

    Args:
        column: max_c, min_c or wind_ms
    """
    import csv
    from datetime import date

    rows = list(csv.DictReader(artifacts.load("seattle-weather.csv").splitlines()))
    values = sorted(float(row[column]) for row in rows)
    low, middle, high = (values[int(share * (len(values) - 1))] for share in (0.02, 0.5, 0.98))
    years = sorted({row["date"][:4] for row in rows})
    parts = []
    for row in rows:
        day = date.fromisoformat(row["date"])
        x = 50 + 2 * (day.timetuple().tm_yday - 1)
        y = 40 + 44 * years.index(str(day.year))
        fill = color(float(row[column]), low, middle, high)
        parts.append(f'<rect x="{x}" y="{y}" width="2.3" height="38" fill="{fill}"/>')
    for index, year in enumerate(years):
        parts.append(f'<text x="10" y="{64 + 44 * index}">{year}</text>')
    for month in range(1, 13):
        x = 50 + 2 * (date(2014, month, 1).timetuple().tm_yday - 1)
        parts.append(f'<text x="{x}" y="{54 + 44 * len(years)}">{date(2014, month, 1):%b}</text>')
    title = f"Seattle, {COLUMNS.get(column, column)}: {low:g} (blue) to {high:g} (red)"
    height = 66 + 44 * len(years)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {height}" width="800" height="{height}" '
        f'font-family="sans-serif" font-size="13"><rect width="800" height="{height}" fill="white"/>'
        f'<text x="50" y="24" font-size="15">{title}</text>{"".join(parts)}</svg>'
    )


def color(value: float, low: float, middle: float, high: float) -> str:
    """From COLD at ``low`` over MILD at ``middle`` to WARM at ``high``."""
    end, span = (WARM, high - middle) if value > middle else (COLD, low - middle)
    share = min(1.0, (value - middle) / span)
    return "#" + "".join(f"{round(m + share * (e - m)):02x}" for m, e in zip(MILD, end, strict=True))
