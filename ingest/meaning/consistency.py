"""Do the channels of one series obey the physics that binds them? A case whose channels do not lacks the stream.

Both checks let pass what they cannot tell: too few samples, or too little movement above the noise.
"""

from collections.abc import Sequence

import numpy as np

from ingest.task import Consistency

SAMPLES = 20  # of both channels together; fewer tell nothing
SPAN_S = 1.0  # over which a rate is integrated: long enough to average noise, short enough to move
SPAN_SAMPLES = 4
GAP = 3.0  # times the usual step: what is longer is a gap, and nothing is integrated over it
SPANS = 4  # that do not overlap
FIRM, DOUBTFUL, SIGMAS = 0.9, 0.7, 3.0  # set on 828 real drives: 1% alarms where nothing is wrong
SHARED_VARIANCE = 0.5
KNOWN_RATIOS = {3.6: "km/h read as m/s", 1 / 3.6: "m/s read as km/h", 2.237: "mph read as m/s", 9.807: "g read as m/s2"}


def inconsistent(
    checks: Sequence[Consistency], names: Sequence[str], hours: np.ndarray, values: np.ndarray, observed: np.ndarray
) -> str | None:
    """Why the series of one case cannot be right, in one line; None where it can, or where too little moves to tell.

    names: the channels, (F,). hours (T,), oldest first; values (T, F), physical units; observed (T, F) bool.
    """
    for check in checks:
        channel, of = names.index(check.channel), names.index(check.of)
        both = observed[:, channel] & observed[:, of]
        seconds = np.asarray(hours[both], np.float64) * 3600
        one, other = (np.asarray(values[both, place], np.float64) for place in (channel, of))
        if len(seconds) < SAMPLES:
            continue
        why = _rate(check, seconds, one, other) if check.kind == "rate" else _sign(check, one, other)
        if why is not None:
            return why
    return None


def _rate(check: Consistency, seconds: np.ndarray, channel: np.ndarray, of: np.ndarray) -> str | None:
    """Compare how much `channel` changed over each second or so with the integral of `of` over the same time.

    The ratio is that of their standard deviations, so that an offset of either does not matter. Noise in one of them
    alone changes it by at most 1 / |r|, r their correlation: with less correlation than that nothing is said.
    """
    step = np.diff(seconds)
    usual = float(np.median(step))
    if usual <= 0:
        return None
    span = max(SPAN_SAMPLES, round(SPAN_S / usual))
    if len(seconds) < SPANS * span:
        return None
    area = np.append(0.0, np.cumsum((of[1:] + of[:-1]) / 2 * step))
    gaps = np.append(0, np.cumsum(step > GAP * usual))
    whole = gaps[span:] == gaps[:-span]
    change, expected = (series[span:][whole] - series[:-span][whole] for series in (channel, area))
    if len(change) < SPANS * span or not change.std() or not expected.std():
        return None
    correlation = float(np.corrcoef(change, expected)[0, 1])
    if abs(correlation) < max(SHARED_VARIANCE**0.5, 1 / check.tolerance):
        return None
    ratio = float(np.sign(correlation) * change.std() / expected.std())
    if 1 / check.tolerance <= ratio <= check.tolerance:
        return None
    hint = next((f", as {what} would" for known, what in KNOWN_RATIOS.items() if 0.8 < ratio / known < 1.25), "")
    if ratio < 0:
        hint = ", so one of them has the wrong sign"
    return (
        f"{check.channel} changes {ratio:.2g} times as fast as {check.of} says{hint}; "
        f"expected a ratio of {1 / check.tolerance:.2g} to {check.tolerance:.2g}"
    )


def _sign(check: Consistency, channel: np.ndarray, of: np.ndarray) -> str | None:
    """Whether one goes down where the other goes up: by rank correlation, which outliers do not move."""
    one, other = (np.argsort(np.argsort(series, kind="stable"), kind="stable") for series in (channel, of))
    if not channel.std() or not of.std():
        return None
    correlation = float(np.corrcoef(one, other)[0, 1])
    if correlation > -DOUBTFUL or (correlation > -FIRM and not _beyond_chance(correlation, channel, of)):
        return None
    return (
        f"{check.channel} and {check.of} go in opposite directions (rank correlation {correlation:.2f}); "
        "expected the same, so one of them has the wrong sign"
    )


def _beyond_chance(correlation: float, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether so strong a correlation is none of chance, for series that change slowly.

    Fisher's z with the effective number of samples, n (1 - ab) / (1 + ab), a and b the lag-1 autocorrelations
    (Bartlett 1935).
    """
    kept = [float(np.corrcoef(series[1:], series[:-1])[0, 1]) if series[1:].std() else 0.0 for series in (one, other)]
    effective = len(one) * (1 - kept[0] * kept[1]) / (1 + kept[0] * kept[1])
    return effective > 3 and abs(float(np.arctanh(correlation))) * (effective - 3) ** 0.5 > SIGMAS
