"""Observed values in words: units as people write them, and how long before the index time."""

import math

UNITS = {  # UCUM -> how it is written for people
    "a": "years",
    "Cel": "°C",
    "mm[Hg]": "mmHg",
    "10*3/uL": "10³/µL",
    "10*9/L": "10⁹/L",
    "ug/L": "µg/L",
    "umol/L": "µmol/L",
    "1": "",
    "{score}": "",
}
DAYS_FROM_HOURS = 72


def quantity(value: float, unit: str) -> str:
    """A number with its unit: "24 /min", "3.4 mmol/L", "97 %"."""
    return f"{number(value)} {UNITS.get(unit, unit)}".rstrip()


def number(value: float) -> str:
    """A number with a true minus sign and 3 significant digits, or all digits before the point."""
    text = f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return text.replace("-", "−")


def when(hours: float) -> str:
    """Hours before the index time as " at −2.1 h" or " at −12 days"; empty at the index time itself."""
    if hours == 0 or not math.isfinite(hours):
        return ""
    if abs(hours) < DAYS_FROM_HOURS:
        return f" at {number(round(hours, 1))} h"
    return f" at {number(round(hours / 24))} days"
