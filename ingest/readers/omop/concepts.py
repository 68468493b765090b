"""Concept numbers as codes: PREFIX//code by the CDM's own table, asked for those that occur and no others."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.readers.omop.source import Opened
from ingest.readers.omop.tables import CONCEPT

# vocabulary_id of OMOP -> the prefix that FHIR's address of the same system gives.
PREFIXES = {"RxNorm": "RXNORM", "CVX": "cvx", "NDC": "ndc", "CPT4": "cpt"}
_UCUM = "UCUM"


class Concepts:
    """The concepts of one CDM, by number. Without a table of them none has a code."""

    def __init__(self, cdm: Opened) -> None:
        self._cdm = cdm
        self._ids: NDArray[np.int64] = np.zeros(0, np.int64)  # sorted; all that were asked for
        self._forms = {name: pa.array([], pa.string()) for name in ("prefixed", "unit", "bare")}
        self._there = bool(cdm.of(CONCEPT))
        if self._there:
            columns = (
                "TRY_CAST(CAST(concept_id AS VARCHAR) AS BIGINT) AS id, CAST(vocabulary_id AS VARCHAR) AS vocabulary, "
                "CAST(concept_code AS VARCHAR) AS code"
            )
            selects = [f"SELECT {columns} FROM {relation.sql}" for relation in cdm.of(CONCEPT)]  # noqa: S608 - our own
            cdm.keep("known_concept", " UNION ALL ".join(selects), copy=any(r.is_csv for r in cdm.of(CONCEPT)))

    def coded(self, numbers: pa.Array) -> pa.Array:
        """PREFIX//code of each number; OMOP//<number> of what the table does not have; null for null and 0."""
        return pc.coalesce(self._look(numbers, "prefixed"), named("OMOP//", numbers))

    def units(self, numbers: pa.Array) -> pa.Array:
        """The UCUM code of each number, or PREFIX//code; null also for what the table does not have."""
        return self._look(numbers, "unit")

    def bare(self, numbers: pa.Array) -> pa.Array:
        """The concept's code without its vocabulary; null also for what the table does not have."""
        return self._look(numbers, "bare")

    def _look(self, numbers: pa.Array, form: str) -> pa.Array:
        ids = pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False)
        self._learn(np.unique(ids))
        if not len(self._ids):
            return pa.nulls(len(ids), pa.string())
        places = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        return self._forms[form].take(pa.array(places, mask=self._ids[places] != ids))

    def _learn(self, ids: NDArray[np.int64]) -> None:
        """Ask the table for numbers that were not asked for before."""
        new = np.setdiff1d(ids[ids > 0], self._ids, assume_unique=True)
        if not self._there or not len(new):
            return
        listed = ", ".join(map(str, new.tolist()))
        columns = "id, any_value(vocabulary) AS vocabulary, any_value(code) AS code"
        sql = f"SELECT {columns} FROM known_concept WHERE id IN ({listed}) GROUP BY id"  # noqa: S608 - whole numbers
        found = [batch for batch in self._cdm.ask(sql) if len(batch)]
        table = pa.Table.from_batches(found) if found else None
        forms = {name: pa.nulls(len(new), pa.string()) for name in self._forms}
        if table is not None:
            order = np.argsort(table["id"].to_numpy())
            known = table.take(pa.array(order)).combine_chunks()
            ids_found = known["id"].to_numpy()
            places = np.minimum(np.searchsorted(ids_found, new), len(ids_found) - 1)
            take = pa.array(places, mask=ids_found[places] != new)
            vocabulary, code = (known[name].combine_chunks().cast(pa.string()) for name in ("vocabulary", "code"))
            prefix = vocabulary
            for theirs, ours in PREFIXES.items():
                prefix = pc.if_else(pc.equal(vocabulary, theirs), ours, prefix)
            prefixed = pc.binary_join_element_wise(prefix, code, "//")
            unit = pc.if_else(pc.equal(vocabulary, _UCUM), code, prefixed)
            forms = {name: each.take(take) for name, each in (("prefixed", prefixed), ("unit", unit), ("bare", code))}
        everything = np.concatenate([self._ids, new])
        sorting = np.argsort(everything)
        self._ids = everything[sorting]
        for name, old in self._forms.items():
            self._forms[name] = pa.concat_arrays([old, forms[name]]).take(pa.array(sorting))


def named(prefix: str, numbers: pa.Array) -> pa.Array:
    """<prefix><number> of each; null for null and 0, which is OMOP's word for none."""
    positive = pc.if_else(pc.greater(numbers, 0), numbers, pa.scalar(None, pa.int64()))
    return pc.binary_join_element_wise(prefix, positive.cast(pa.string()), "")
