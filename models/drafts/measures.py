"""How like a reference a text is, in words: ROUGE-L and BLEU-4. Neither says whether what it states is true."""

import math
from collections import Counter
from collections.abc import Sequence

from ingest.notes.words import split_words

ORDER = 4


def words_of(text: str) -> list[str]:
    """The words and marks of a text in lower case."""
    return [text[start:end].lower() for start, end in split_words(text)]


def rouge_l(written: Sequence[str], reference: Sequence[str]) -> float:
    """The F-measure of the longest common subsequence (Lin 2004, eq. 2-4, with beta = 1); 0 where either is empty."""
    common = longest_common_subsequence(written, reference)
    if not common:
        return 0.0
    recall, precision = common / len(reference), common / len(written)
    return 2 * recall * precision / (recall + precision)


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Its length, by dynamic programming over the prefixes of both."""
    row = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, against in enumerate(other, 1):
            diagonal, row[place] = row[place], diagonal + 1 if word == against else max(row[place], row[place - 1])
    return row[-1]


def bleu(written: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of a corpus with one reference each, unsmoothed (Papineni et al. 2002, section 2.3).

    0 where no run of four words is shared, also where all texts are shorter than that.
    """
    logs = []
    for size in range(1, ORDER + 1):
        matched, of = 0, 0
        for text, reference in zip(written, references, strict=True):
            runs = _runs(text, size)
            matched += sum((runs & _runs(reference, size)).values())
            of += sum(runs.values())
        if not matched:
            return 0.0
        logs.append(math.log(matched / of))
    length, wanted = sum(map(len, written)), sum(map(len, references))
    return math.exp(min(1 - wanted / length, 0.0) + sum(logs) / ORDER)


def _runs(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
