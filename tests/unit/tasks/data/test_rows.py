"""Rows of files: what is read alike from each format, and each kind of bad file with its place and its words."""

from __future__ import annotations

import gzip
import json
import os
import resource
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from policies.tasks.data import lines, row
from policies.tasks.data.hub import PREFIX
from policies.tasks.data.parquet import unpacked_rows
from policies.tasks.data.row import DataError
from policies.tasks.data.rows import read_rows

ROWS = [
    {"question": "2 + 2?", "answer": "4"},
    {"question": "Name, please\nof the sum", "answer": '=HYPERLINK("http://x")'},
    {"question": "déjà vu", "answer": "-1"},
]
CSV = 'question,answer\n2 + 2?,4\n"Name, please\nof the sum","=HYPERLINK(""http://x"")"\ndéjà vu,-1\n'
JSONL = "".join(json.dumps(r) + "\n" for r in ROWS)


def read(path: Path | str, split: str = "train", revision: str = "") -> list[dict[str, str | None]]:
    return [dict(r.columns) for r in read_rows(str(path), {"question", "answer"}, "", split, revision)]


def as_parquet(path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: path.write_text(JSONL),
    "bom.jsonl": lambda path: path.write_bytes(b"\xef\xbb\xbf" + JSONL.replace("\n", "\r\n").encode()),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(JSONL.encode())),
    "a.csv": lambda path: path.write_text(CSV),
    "packed.jsonl": lambda path: path.write_bytes(gzip.compress(JSONL.encode())),
    "unpacked.jsonl.gz": lambda path: path.write_text(JSONL),
    "a.JSON": lambda path: path.write_text(JSONL),
    "semicolons.CSV": lambda path: path.write_text(
        CSV.replace("question,answer", "question;answer")
        .replace("?,4", "?;4")
        .replace('","', '";"')
        .replace("vu,", "vu;")
    ),
    "tabs.tsv": lambda path: path.write_text(
        CSV.replace("question,answer", "question\tanswer")
        .replace("?,4", "?\t4")
        .replace('","', '"\t"')
        .replace("vu,", "vu\t")
    ),
    "joined.csv": lambda path: path.write_text(f"\ufeff{CSV},\n , \n\n".replace("2 + 2", "\ufeff2 + 2")),
    "spaced.csv": lambda path: path.write_text(CSV.replace(",4", ', "4"').replace("question,", "question, ")),
    "decomposed.jsonl": lambda path: path.write_text(
        unicodedata.normalize("NFD", JSONL.replace("\\u00e9", "é").replace("\\u00e0", "à"))
    ),
    "a.csv.gz": lambda path: path.write_bytes(gzip.compress(CSV.replace("\n", "\r\n").encode())),
    "a.parquet": as_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows_and_formulas_are_text(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert read(tmp_path / name) == ROWS


def test_the_library_of_data_sets_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text(JSONL)
    assert read(f"{PREFIX}{folder}") == ROWS
    with pytest.raises(DataError, match="cannot be read"):
        read(f"{PREFIX}{folder}", split="nosuch")


@pytest.mark.parametrize("revision", ["", "main", "v1.0", "A" * 40, "a" * 39])
def test_a_data_set_of_the_hub_needs_a_revision_that_cannot_move(revision: str) -> None:
    with pytest.raises(DataError, match="needs revision = the 40 hex digits of a commit"):
        read(f"{PREFIX}openai/gsm8k", revision=revision)


def test_values_are_text_whatever_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "kinds.jsonl"
    file.write_text('{"a": 1, "b": 1.5, "c": true, "d": null, "e": {"z": [1, "é"]}, "f": "x\\r\\ny"}\n')
    [found] = read_rows(str(file), set("abcdef"), "", "", "")
    assert found.columns == {
        "a": "1",
        "b": "1.5",
        "c": "true",
        "d": None,
        "e": '{"z": [1, "é"]}',
        "f": "x\ny",
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_what_stands_in_columns_that_are_not_read_matters_to_nobody(tmp_path: Path, name: str) -> None:
    file, long = tmp_path / name, "x" * 200_000
    raw = {"question": "a", "answer": 1, "loss": float("nan"), "vector": long, "raw": "\x1b"}
    content = {
        "a.jsonl": json.dumps(raw),
        "a.csv": f"question,answer,loss,vector\na,1,\x1b,{long}\n",
    }
    file.write_text(content[name])
    [found] = read(file)
    assert (found["question"], found["answer"], found["loss"], found["vector"]) == ("a", "1", None, None)


def test_a_chat_of_one_turn_is_what_is_said_and_of_several_is_no_question(tmp_path: Path) -> None:
    question, answer = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}
    file = tmp_path / "chat.jsonl"
    file.write_text(json.dumps({"question": [question], "answer": [answer]}))
    assert read(file) == [{"question": "2 + 2?", "answer": "4"}]
    parquet.write_table(
        pyarrow.Table.from_pylist([{"question": [question], "answer": [answer]}]), tmp_path / "a.parquet"
    )
    assert read(tmp_path / "a.parquet") == [{"question": "2 + 2?", "answer": "4"}]
    file.write_text(json.dumps({"question": [question, answer], "answer": "4"}))
    with pytest.raises(
        DataError, match="column 'question' holds a chat of 2 turns: name a column with the question"
    ):
        read(file)


def test_a_pile_of_marks_is_left_as_it_is(tmp_path: Path) -> None:
    """Putting them in order would take minutes."""
    pile = "a" + "\u0301\u0323\u0327" * 30_000
    rows = [{"question": f"{number} {pile}", "answer": "e\u0301"} for number in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(tmp_path / "a.jsonl")
    assert found[0] == {"question": f"0 {pile}", "answer": "\u00e9"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pyarrow.array([b"2", b"\xff"]).view(pyarrow.string()), "codec can't decode"),
        (pyarrow.array([1, 2**31 - 1], pyarrow.date32()), "must have magnitude"),
        (pyarrow.array([0, 2**62], pyarrow.timestamp("us")), "out of range"),
        (pyarrow.array([0, 1], pyarrow.timestamp("s", "Nowhere/Foo")), "Nowhere/Foo"),
    ],
)
def test_a_value_that_python_does_not_have_is_named_by_row_and_column(
    tmp_path: Path, values: pyarrow.Array, reason: str
) -> None:
    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"question": ["a", "b"], "answer": values}), file)
    with pytest.raises(DataError, match=rf"row [12]: 'answer' has no value here \(.*{reason}"):
        read(file)


def test_narrow_numbers_of_a_table_have_the_digits_that_were_written(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    numbers = [0.1, 1 / 3, 16777216.0, None]
    for kind, texts in (
        (pyarrow.float32(), ["0.1", "0.33333334", "16777216.0", None]),
        (pyarrow.float64(), ["0.1", "0.3333333333333333", "16777216.0", None]),
    ):
        columns = {"question": list("abcd"), "answer": pyarrow.array(numbers, kind)}
        parquet.write_table(pyarrow.table(columns), file)
        assert [found["answer"] for found in read(file)] == texts


def test_a_folder_of_this_machine_is_never_taken_for_a_data_set_that_an_invite_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "squad").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"hf:squad is of the hub, .* start in another folder"):
        read(f"{PREFIX}squad", revision="a" * 40)


MANY_KEYS = json.dumps({str(key): 1 for key in range(300_000)})[:-1].encode() + b', "7": 1}'
BAD = [
    ("a.jsonl", b'{"question": 1}\n{"question": \n', "line 2: not JSON"),
    ("a.jsonl", b'{"question": NaN}\n', "line 1: column 'question' holds nan, which is no number"),
    ("a.jsonl", b'\n\n["q"]\n', "line 3: a list in place of an object .*: jq -c "),
    (
        "a.json",
        b'[\n{"q": 1}\n]\n',
        "line 1: not JSON .* one object a line: jq -c '.\\[\\]' makes one of a list",
    ),
    ("a.jsonl", b'{"question": 1, "answer": 1, "answer": 2}\n', "line 1: .*the key 'answer' is there twice"),
    ("a.jsonl", b"[" * 100_000, "line 1: "),
    ("a.jsonl", b'{"q": ' * 50_000, "line 1: not JSON .nested too deeply"),
    ("a.jsonl", b'{"q": ' + b"1" * 5000 + b"}", "line 1: not JSON"),
    (
        "a.jsonl",
        '{}\n{"question": "é"}'.encode("latin-1"),
        "line 2: not UTF-8 .byte 0xe9.: save the file as UTF-8",
    ),
    ("a.jsonl", "{}".encode("utf-16"), "it is in UTF-16: save it as UTF-8"),
    ("a.jsonl", b"PAR1 and so on", "it is a Parquet file: let its name end with .parquet"),
    ("a.csv", b"PK\x03\x04 and so on", "an archive or a spreadsheet: save its table as CSV"),
    ("a.jsonl", b'{"answer": "a\\u0000b"}', r"line 1: column 'answer' holds the control character U\+0000"),
    ("a.jsonl", b'{"answer": "a\\ud800b"}', r"control character U\+D800"),
    ("a.jsonl", b'{"answer": "\\u001b[31m"}', r"control character U\+001B"),
    (
        "a.jsonl",
        b'{"answer": "' + b"x" * 100_001 + b'"}',
        "column 'answer' has 100001 characters; at most 100000",
    ),
    ("a.jsonl", b'{"q": "' + b"x" * (4 * 2**20) + b'"}', "line 1: longer than 4 MB"),
    ("a.csv", b"q,a\n1,2,3\n", "line 2: 3 values for 2 columns"),
    ("a.csv", b'q,a\n1,"2\n', "line 2: not CSV"),
    (
        "a.csv",
        b'q,a\n"1\n1",1\n2,3,4\n',
        "line 4: 3 values for 2 columns: put values that hold ',' in quotes",
    ),
    ("a.csv", b"q;a\n1;2;3\n", "line 2: 3 values for 2 columns: put values that hold ';' in quotes"),
    ("a.csv", b"q,a\r1,2\r3,4\r", "line 1: not CSV .*save it with line feeds at line ends"),
    ("a.csv", b"q,q\n1,2\n", "line 1: the header names 'q' twice"),
    ("a.csv", f"{','.join(map(str, range(300_000)))},7\n1\n".encode(), "line 1: the header names '7' twice"),
    ("a.jsonl", MANY_KEYS, "the key '7' is there twice"),
    ("a.csv", b"q,\n1,2\n", "a column without a name"),
    ("a.csv", b"q,answer\n1,x\x00y\n", r"line 2: column 'answer' holds the control character U\+0000"),
    ("a.csv", b'q,a\n"' + b"x\n" * 100_000, "not CSV"),
    ("a.jsonl.gz", gzip.compress(JSONL.encode())[:-9], "not a whole gzip file"),
    ("a.parquet", b"PAR1 nothing PAR1", "not a whole Parquet file"),
    ("a.jsonl", b"", "the file is empty"),
    ("a.txt", b"q", "the name ends with none of .jsonl"),
    ("a.pkl", b"q", "the name ends with none of .jsonl"),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD)
def test_bad_files_say_where_and_what(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError, match=words) as raised:
        read(file)
    assert str(raised.value).startswith(f"{file}: ")


def test_a_file_that_is_not_there_is_answered_by_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(JSONL)
    (tmp_path / "question.toml").write_text("")
    with pytest.raises(DataError, match=r"no such file: put it back, .*; did you mean 'questions.jsonl'"):
        read(tmp_path / "question.jsonl")
    (tmp_path / "questions.jsonl").unlink()
    with pytest.raises(DataError) as alone:  # a config beside it is no data
        read(tmp_path / "question.jsonl")
    assert "did you mean" not in str(alone.value)


def test_files_without_an_end_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "pipe.jsonl", tmp_path):
        with pytest.raises(DataError, match="not a plain file: name one file; of several, cat part-"):
            read(path)
    with pytest.raises(DataError, match="a path names one file: of several, cat part-"):
        read(tmp_path / "part-*.jsonl")


def test_ten_gigabytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    file = tmp_path / "large.jsonl"
    with file.open("wb") as sparse:
        sparse.truncate(10 * 10**9)
    with pytest.raises(DataError, match=r"9,537 MB; at most 256: take a part of it"):
        read(file)


def test_what_unpacks_to_too_much_is_left_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 MB in 300 kB; and lines and rows that are many and short."""
    file = tmp_path / "large.jsonl.gz"
    with gzip.open(file, "wb", compresslevel=1) as packed:
        for _ in range(300):
            packed.write(b" " * (2**20 - 1) + b"\n")
    assert file.stat().st_size < 3 * 10**6
    with pytest.raises(DataError, match="over 256 MB once unpacked"):
        read(file)
    monkeypatch.setattr(lines, "MAX_LINES", 1000)
    file.write_bytes(gzip.compress(b"\n" * 2000))
    with pytest.raises(DataError, match="over 1,000 lines"):
        read(file)
    file.write_bytes(gzip.compress(b"\n" * 1000))
    assert read(file) == []


def test_parquet_that_unpacks_to_too_much_is_refused_by_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bomb.parquet"
    text = pyarrow.array([0] * 2_000_000, pyarrow.int32())
    packed = pyarrow.DictionaryArray.from_arrays(text, pyarrow.array(["x" * 90_000]))
    parquet.write_table(pyarrow.table({"question": packed}), file)
    assert file.stat().st_size < 10**6
    with pytest.raises(DataError, match="2,000,000 rows; at most 1,000,000"):
        read(file)
    parquet.write_table(pyarrow.table({"question": packed.slice(0, 20_000)}), file)
    with monkeypatch.context() as patched, pytest.raises(DataError, match="over 1,000,000 rows or 4 MB"):
        patched.setattr("policies.tasks.data.rows.MAX_BYTES", 2**22)
        read(file)  # of 1.8 GB, 4 MB came
    parquet.write_table(pyarrow.table({"question": ["x" * 50_000_000] * 6}), file, use_dictionary=False)
    with pytest.raises(DataError, match=r"286 MB once unpacked; at most 256: take a part"):
        read(file)


def lying(file: Path) -> None:
    """Writes 40 rows that share a text of 200 MB, in a small file that says it unpacks to 5 kB."""
    real = file.with_name("real.parquet")
    text = pyarrow.array(["x" * 200_000_000])
    packed = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 40, pyarrow.int32()), text)
    parquet.write_table(pyarrow.table({"question": packed}), real, compression="zstd")
    group = parquet.ParquetFile(real).metadata.row_group(0)
    content = real.read_bytes()
    sizes = {varint(group.total_byte_size), varint(group.column(0).total_uncompressed_size)}
    for size in sizes:
        assert size in content[-2000:]
        content = content[:-2000] + content[-2000:].replace(size, varint(5000, len(size)))
    file.write_bytes(content)


def varint(size: int, length: int = 0) -> bytes:
    """Thrift's compact form of an i64, stretched to `length` bytes."""
    value, out = size << 1, bytearray()
    while value >= 0x80 or len(out) + 1 < length:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def test_parquet_that_lies_about_its_size_is_stopped_by_the_memory_it_may_have(tmp_path: Path) -> None:
    file = tmp_path / "lying.parquet"
    lying(file)
    assert file.stat().st_size < 10**6
    assert parquet.ParquetFile(file).metadata.row_group(0).total_byte_size == 5000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="reading it took more memory or computing than it may"):
        read(file)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100 * 1024
    )  # kB: nothing of it came here


def test_the_bounds_hold_over_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.tasks.data.rows.MAX_ROWS", 2)
    (tmp_path / "a.jsonl").write_text(JSONL)
    with pytest.raises(DataError, match="over 2 rows"):
        read(tmp_path / "a.jsonl")
    assert lines.MAX_BYTES == row.MAX_BYTES


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    columns = [pyarrow.array(["1?"]), pyarrow.array(["2?"]), pyarrow.array(["3"])]
    table = pyarrow.Table.from_arrays(columns, names=["question", "question", "answer"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="it has two columns 'question': name each column once"):
        read(tmp_path / "a.parquet")


def test_many_small_rows_of_parquet_come_in_large_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of three rows takes as long as one of fifty: a million rows took minutes."""
    asked = []
    real = parquet.ParquetFile.iter_batches

    def counted(file: Any, together: int, **options: Any) -> Any:
        asked.append(together)
        return real(file, together, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    monkeypatch.setattr("policies.tasks.data.parquet._checked_size", lambda metadata: 200 * 2**20)
    as_parquet(tmp_path / "a.parquet")
    assert list(unpacked_rows(tmp_path / "a.parquet", ["question", "answer"]))
    assert asked[0] >= 64
