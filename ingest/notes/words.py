"""A text as words, numbers and punctuation marks, in any language."""

import re
import sys
import unicodedata
from functools import lru_cache

Offsets = list[tuple[int, int]]

ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # signs of scripts without spaces


def split_words(text: str) -> Offsets:
    """(start, end) of each word, number and mark, in order; nothing but white space lies between them.

    A number keeps its decimals ("37.5"); signs of scripts without spaces (Chinese, Japanese) stand alone; marks that
    combine with a letter stay with it.
    """
    return [match.span() for match in _words().finditer(text)]


@lru_cache(maxsize=1)
def _words() -> re.Pattern[str]:
    marks = "".join(chr(c) for c in range(min(sys.maxunicode, 0xFFFF)) if unicodedata.category(chr(c))[0] == "M")
    letter = rf"[^\W{ALONE}]"
    return re.compile(rf"\d+(?:[.,]\d+)*|[{ALONE}]|{letter}(?:{letter}|[{marks}])*|[^\w\s]")
