"""Blocks of whole rows, against Python's own csv module."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.readers.table.blocks import BlockError, blocks, first_bytes

CELL = st.text(st.sampled_from('ab1", \n'), max_size=6)
FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def parsed(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text, newline="")) if row]


@given(rows=st.lists(st.lists(CELL, min_size=2, max_size=3), min_size=1, max_size=12), at_once=st.integers(1, 40))
@FAST
def test_no_block_cuts_a_row(tmp_path: Path, rows: list[list[str]], at_once: int) -> None:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(rows)
    path = tmp_path / "t.csv"
    path.write_bytes(written.getvalue().encode())
    found = [bytes(block.data).decode() for block in blocks(path, ",", "utf-8", at_once=at_once)]
    assert "".join(found) == written.getvalue()
    assert [row for block in found for row in parsed(block)] == parsed(written.getvalue())


@given(
    lines=st.lists(
        st.sampled_from(['5" x,y', 'a"b"c,"d\ne"', '"q""r",s', 't,"u"', 'v"', '""', '"w\n""x",y"']), min_size=1
    )
)
@FAST
def test_a_quote_within_a_cell_is_a_letter(tmp_path: Path, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    found = [bytes(block.data).decode() for block in blocks(path, ",", "utf-8", at_once=7)]
    assert "".join(found) == text
    assert [row for block in found for row in parsed(block)] == parsed(text)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16", "cp1252", "utf-8-sig"])
@pytest.mark.parametrize("start", [0, 5, 11])
def test_any_encoding_becomes_utf8_from_any_byte_on(tmp_path: Path, encoding: str, start: int) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("a,ü\n1,ö\n22,ß\n".encode(encoding))
    whole = "a,ü\n1,ö\n22,ß\n".encode()
    assert b"".join(bytes(block.data) for block in blocks(path, ",", encoding, start=start)) == whole[start:]
    assert first_bytes(path, encoding) == whole


def test_carriage_returns_alone_end_rows_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\r1,2\r3,4\r")
    assert len(list(blocks(path, ",", "utf-8", at_once=5))) > 1


def test_bytes_of_another_encoding_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,\x81\n")
    with pytest.raises(BlockError, match="cp1252"):
        list(blocks(path, ",", "cp1252"))


@pytest.mark.parametrize("at_once", [5, 1000])
def test_a_quote_that_nobody_closes_takes_no_rows_with_it(tmp_path: Path, at_once: int) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"x\ny"\n2,"open\n3,c\n4,d\n')
    found: list[str] = []
    with pytest.raises(BlockError, match="a quote that is never closed"):
        found.extend(bytes(block.data).decode() for block in blocks(path, ",", "utf-8", at_once=at_once))
    assert "".join(found) == 'a,b\n1,"x\ny"\n'
