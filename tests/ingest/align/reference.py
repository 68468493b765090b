"""Alignment as slowly and plainly as it can be written: loops over dicts, one case and one feature at a time.

A row is a dict: owner, code, minutes (None: static), known (minutes, or None), number, text, unit, and the source. A
case is its owner and the minutes of its index time (None for records, which have none).
"""

from collections.abc import Iterable, Mapping
from math import inf, isfinite, isnan
from typing import Any

Row = Mapping[str, Any]


def visible(rows: Iterable[Row], case: Row, codes: Iterable[str], window_hours: float | None, clock: str) -> list[Row]:
    """What a case may see of some codes, in the order that counts: time, release, code, number, and then all else."""
    seen = []
    for row in rows:
        time = -inf if row["minutes"] is None else row["minutes"]
        known = time if clock == "time" else release(row)
        index = inf if case["index"] is None else case["index"]
        too_old = window_hours is not None and row["minutes"] is not None and time < index - 60 * window_hours
        if row["owner"] == case["owner"] and row["code"] in codes and time <= index and known <= index and not too_old:
            seen.append(row)
    return sorted(seen, key=in_order)


def release(row: Row) -> float:
    return max(-inf if row[name] is None else row[name] for name in ("minutes", "known"))


def in_order(row: Row) -> tuple[Any, ...]:
    number = inf if row["number"] is None or isnan(row["number"]) else row["number"]
    time = -inf if row["minutes"] is None else row["minutes"]
    return (time, release(row), row["code"], number, row["text"] or "", row["unit"] or "", row["record"])


def value_of(row: Row, feature: Mapping[str, Any]) -> float | None:
    """The value of one observation, None where it does not count."""
    if feature["reduce"] in ("any", "count"):
        return 1.0
    if feature.get("levels"):
        text = row["text"]
        if text is None and row["number"] is not None and isfinite(row["number"]):
            text = f"{row['number']:g}"
        return None if text is None else float(feature["levels"].index(text)) if text in feature["levels"] else -1.0
    low, high = feature.get("plausible", (-inf, inf))
    fits = row["number"] is not None and isfinite(row["number"]) and low <= row["number"] <= high
    other_unit = feature.get("unit") is not None and row["unit"] not in (None, feature["unit"])
    return row["number"] if fits and not other_unit else None


def reduced(how: str, values: list[float]) -> float:
    kinds = {"last": values[-1], "first": values[0], "min": min(values), "max": max(values), "any": 1.0}
    return float({**kinds, "count": len(values), "mean": sum(values) / len(values)}[how])


def age(row: Row, case: Row) -> float:
    return 0.0 if None in (row["minutes"], case["index"]) else (row["minutes"] - case["index"]) / 60


def window_of(feature: Mapping[str, Any], spec: Mapping[str, Any]) -> float | None:
    return feature.get("window_hours") or spec.get("window_hours")


def table(rows: list[Row], case: Row, spec: Mapping[str, Any], clock: str) -> list[tuple[float, bool, float]]:
    """(value, observed, hours) of each feature."""
    out = []
    for feature in spec["features"]:
        seen = visible(rows, case, feature["codes"], window_of(feature, spec), clock)
        usable = [(row, value_of(row, feature)) for row in seen if value_of(row, feature) is not None]
        known_by_absence = feature["reduce"] in ("any", "count")
        value = reduced(feature["reduce"], [value for _, value in usable]) if usable else -1.0
        if not usable or (feature.get("levels") and value < 0):
            out.append((0.0, known_by_absence, 0.0))
        else:
            out.append((value, True, age(usable[0 if feature["reduce"] == "first" else -1][0], case)))
    return out


def series(rows: list[Row], case: Row, spec: Mapping[str, Any], clock: str) -> list[tuple[float, dict[int, float]]]:
    """The elements in order: (hours, channel -> value); with bins one for each, an empty one with hours 0."""
    found: dict[tuple[float, int], dict[int, tuple[float, float]]] = {}
    for place, channel in enumerate(spec["channels"]):
        moments: dict[float, list[tuple[Row, float]]] = {}
        for row in visible(rows, case, channel["codes"], window_of(channel, spec), clock):
            value = value_of(row, channel)
            if value is None or (row["minutes"] is None and case["index"] is not None):
                continue
            moments.setdefault(moment_of(row, case, spec), []).append((row, value))
        for moment, pairs in moments.items():
            if channel["reduce"] == "all":
                kept = [(nth, value, age(row, case)) for nth, (row, value) in enumerate(pairs)]
            else:
                kept = [(0, reduced(channel["reduce"], [v for _, v in pairs]), age(pairs[-1][0], case))]
            for nth, value, hours in kept:
                if not (channel.get("levels") and value < 0):
                    found.setdefault((moment, nth), {})[place] = (value, hours)
    elements = [
        (max(hours for _, hours in mine.values()), {place: value for place, (value, _) in mine.items()})
        for _, mine in sorted(found.items())
    ]
    if "bin_hours" not in spec:
        return elements[-spec["max_times"] :]
    bins: list[tuple[float, dict[int, float]]] = [(0.0, {})] * round(spec["window_hours"] / spec["bin_hours"])
    for (moment, _), element in zip(sorted(found), elements, strict=True):
        bins[int(moment)] = element
    return bins


def moment_of(row: Row, case: Row, spec: Mapping[str, Any]) -> float:
    """The time, or the number of the bin (a, b] that holds it; the first bin also holds its own beginning."""
    if "bin_hours" not in spec:
        return -inf if row["minutes"] is None else float(row["minutes"])
    bins, width = round(spec["window_hours"] / spec["bin_hours"]), 60 * spec["bin_hours"]
    for number in range(bins - 1, -1, -1):
        if row["minutes"] > case["index"] - (bins - number) * width:
            return number
    return 0


def text(rows: list[Row], case: Row, spec: Mapping[str, Any], clock: str) -> list[tuple[str, float]]:
    """(word, hours) of each of the last words."""
    words = []
    for row in visible(rows, case, spec["codes"], spec.get("window_hours"), clock):
        words += [(word, age(row, case)) for word in (row["text"] or "").split()]
    return words[-spec["max_tokens"] :]
