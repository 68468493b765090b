"""Explanations as `shap.Explanation` values, so that every plot of the shap library can draw them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from explain.explanation import Explanation
from ingest.errors import TelltaleError

if TYPE_CHECKING:
    import shap

STREAMS = "streams"


def to_shap(explanations: Sequence[Explanation], level: str = STREAMS) -> "shap.Explanation":
    """Values, base values, data and names of many cases, at the level of the streams or within the stream `level`.

    Streams: one column per stream, 0 where a case lacks it, data 1 or 0 for its presence. Within a stream: one
    column per element, and the base value is the log-odds with the stream's share taken off. Text: words differ from
    case to case, so values and data hold one array per case, as `shap.plots.text` wants them. Cases without the
    stream are left out. Raises TelltaleError where one of them is withheld or none has the stream.
    """
    if bad := [e.case_id for e in explanations if e.withheld]:
        raise TelltaleError(f"the explanations of {', '.join(bad[:5])} are withheld: they do not sum to the log-odds")
    if level == STREAMS:
        return _streams(explanations)
    some = [e for e in explanations if level in e.elements]
    if not some:
        raise TelltaleError(f"no explanation has elements of stream {level!r}; expected streams, or one that they have")
    return _words(some, level) if some[0].kinds[level] == "text" else _columns(some, level)


def _streams(explanations: Sequence[Explanation]) -> "shap.Explanation":
    import shap

    names = list(dict.fromkeys(name for e in explanations for name in e.streams))
    present = np.array([[name in e.streams for name in names] for e in explanations], bool)
    return shap.Explanation(
        values=np.array([[e.streams.get(name, 0.0) for name in names] for e in explanations]),
        base_values=np.array([e.base_logit for e in explanations]),
        data=present.astype(float),
        display_data=np.where(present, "present", "absent").astype(object),
        feature_names=names,
        output_names="log-odds",
    )


def _columns(explanations: Sequence[Explanation], level: str) -> "shap.Explanation":
    import shap

    names = list(dict.fromkeys(element.name for e in explanations for element in e.elements[level]))
    place = {name: column for column, name in enumerate(names)}
    shape = (len(explanations), len(names))
    values, data, shown = np.zeros(shape), np.full(shape, np.nan), np.full(shape, "absent", object)
    for row, explanation in enumerate(explanations):
        for element in explanation.elements[level]:
            column = place[element.name]
            values[row, column] = element.value
            data[row, column] = np.nan if element.number is None else element.number
            shown[row, column] = element.shown
    return shap.Explanation(
        values=values,
        base_values=np.array([_base(e, level) for e in explanations]),
        data=data,
        display_data=shown,
        feature_names=names,
        output_names="log-odds",
    )


def _words(explanations: Sequence[Explanation], level: str) -> "shap.Explanation":
    import shap

    values, data = (np.empty(len(explanations), object) for _ in range(2))
    for row, explanation in enumerate(explanations):
        words = explanation.elements[level]
        values[row] = np.array([word.value for word in words])
        data[row] = np.array([f"{word.name} " for word in words], object)
    return shap.Explanation(
        values=values,
        base_values=np.array([_base(e, level) for e in explanations]),
        data=data,
        output_names="log-odds",
    )


def _base(explanation: Explanation, level: str) -> float:
    return explanation.logit - sum(element.value for element in explanation.elements[level])
