"""File sources: what they accept, what they refuse and in which words; and the nano world."""

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from pydantic import ValidationError

from tunesmith import DataError
from tunesmith.rows import check_row, type_of
from tunesmith_plugins.sources.json_lines import JsonLines
from tunesmith_plugins.sources.nano import TASKS, Nano
from tunesmith_plugins.sources.plain_text import PlainText
from tunesmith_plugins.sources.table import Table

REPO = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("TUNESMITH_SHARED") or REPO.parent / "shared") / "data"
LONG = b'{"prompt": "hi", "completion": "' + b"hello" * 1000 + b'"}\n'
GOOD = b'{"prompt": "hi", "completion": "hello"}\n'


def write(folder, data, name="rows.jsonl"):
    path = folder / name
    path.write_bytes(data)
    return path


def refused(source, *words):
    """The run refuses, and preflight already knew where that is cheap."""
    with pytest.raises(DataError) as error:
        list(source.rows())
    for word in words:
        assert word in str(error.value), str(error.value)
    return source.problems()


# Accepted


def test_json_lines_and_arrays_gzip_or_not_give_the_same_rows(tmp_path):
    records = [{"id": f"r{n}", "prompt": f"q {n} é", "completion": "x" * n} for n in range(1, 800)]
    flat = "\n".join(json.dumps(r, ensure_ascii=False) for r in records).encode()
    forms = {
        "a.jsonl": flat,
        "b.jsonl": b"\xef\xbb\xbf" + flat.replace(b"\n", b"\r\n\r\n") + b"\r\n",
        "c.json": json.dumps(records).encode(),
        "d.json": b"\xef\xbb\xbf\n "
        + json.dumps(records, indent=1, ensure_ascii=False).encode()
        + b"\n",
        "e.jsonl.gz": gzip.compress(flat),
        "f.json.gz": gzip.compress(json.dumps(records).encode()),
        "g.jsonl": gzip.compress(flat),
    }
    expected = None
    for name, data in forms.items():
        rows = list(JsonLines(path=write(tmp_path, data, name)).rows())
        expected = expected or rows
        assert rows == expected, name
    assert len(expected) == 799


def test_a_place_is_the_line_of_the_row_in_lines_and_in_arrays(tmp_path):
    bad = [{"prompt": "a", "completion": "b"}] * 3 + [{"prompt": "a", "completion": None}]
    array = write(tmp_path, json.dumps(bad, indent=2).encode(), "a.json")
    refused(JsonLines(path=array), "a.json:14:")
    lines = write(tmp_path, b"\n".join(json.dumps(r).encode() for r in bad))
    refused(JsonLines(path=lines), "rows.jsonl:4:", "bad_rows: skip")


def test_bad_rows_are_left_out_on_request_and_counted(tmp_path, caplog):
    path = write(tmp_path, GOOD + b"not json\n" + b'{"prompt": "a", "completion": ""}\n' + GOOD)
    source = JsonLines(path=path, bad_rows="skip")
    assert len(list(source.rows())) == 2
    assert "2 rows left out" in caplog.text
    assert "rows.jsonl:2" in caplog.text


def test_memory_does_not_grow_with_the_file(tmp_path):
    row = json.dumps({"prompt": "q" * 1000, "completion": "a" * 1000})
    for name, data in (
        ("a.jsonl", "\n".join([row] * 2500)),
        ("a.json", f"[{','.join([row] * 2500)}]"),
    ):
        source = JsonLines(path=write(tmp_path, data.encode(), name))
        tracemalloc.start()
        assert sum(1 for _ in source.rows()) == 2500
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3_000_000, name


def test_task_split_and_limit_are_options_and_rows_keep_their_own(tmp_path):
    own = b'{"prompt": "hi", "completion": "x", "task": "maths_reasoning", "split": "test"}\n'
    source = JsonLines(
        path=write(tmp_path, GOOD + own + GOOD), task="summarisation", split="train", limit=2
    )
    rows = list(source.rows())
    assert [(r["task"], r["split"]) for r in rows] == [
        ("summarisation", "train"),
        ("maths_reasoning", "test"),
    ]


def test_the_fingerprint_is_the_sha256_of_the_file(tmp_path):
    import hashlib

    path = write(tmp_path, GOOD)
    assert JsonLines(path=path).fingerprint() == hashlib.sha256(GOOD).hexdigest()


def test_tables_guess_the_delimiter_keep_quoted_line_breaks_and_take_names(tmp_path):
    want = [("a, b", "x"), ("c", 'two\nlines "q"')]
    commas = b'question,answer\n"a, b",x\nc,"two\nlines ""q"""\n'
    semicolons = b'\xef\xbb\xbfquestion;answer\r\na, b;x\r\nc;"two\nlines ""q"""\r\n'
    for data in (commas, semicolons, gzip.compress(commas)):
        rows = list(Table(path=write(tmp_path, data, "t.csv")).rows())
        assert [(r["prompt"][0]["content"], r["completion"][0]["content"]) for r in rows] == want
    tabs = write(tmp_path, b'He said "hi", twice\tIl a dit\n', "t.tsv")
    rows = list(Table(path=tabs, header=("prompt", "completion")).rows())
    assert rows[0]["prompt"][0]["content"] == 'He said "hi", twice'
    rows = list(Table(path=tabs, header=False, columns={"prompt": "1", "completion": "2"}).rows())
    assert rows[0]["completion"][0]["content"] == "Il a dit"


def test_plain_text_gives_paragraphs_lines_or_the_file(tmp_path):
    path = write(tmp_path, b"one\ntwo\n\n\nthree\n", "t.txt")
    assert [r["text"] for r in PlainText(path=path).rows()] == ["one\ntwo", "three"]
    assert [r["text"] for r in PlainText(path=path, document="line").rows()] == [
        "one",
        "two",
        "three",
    ]
    assert [r["text"] for r in PlainText(path=path, document="file").rows()] == [
        "one\ntwo\n\n\nthree"
    ]
    joined = PlainText(path=path, min_characters=10)
    assert [r["text"] for r in joined.rows()] == ["one\ntwo\n\n\nthree"]


# Refused

DEEP = b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
BAD_JSON = {
    "wrong columns": (b'{"a": "x", "b": "y"}\n', "columns: {"),
    "a column of nulls": (b'{"prompt": "x", "completion": null}\n' * 3, "'completion' is null"),
    "invalid UTF-8": (GOOD + b'{"prompt": "caf\xe9"}\n', "byte 0xe9 at offset 55"),
    "UTF-16": ('{"prompt": "x"}'.encode("utf-16"), "UTF-16"),
    "a zip file": (b"PK\x03\x04....", "zip"),
    "NUL bytes": (b'{"prompt": "a\x00b"}\n', "NUL byte at offset 13"),
    "an escaped NUL": (b'{"prompt": "a\\u0000b"}\n', "NUL"),
    "duplicate ids": (b'{"id": "a", "text": "x"}\n' * 2, "the id 'a' was there before"),
    "duplicate keys": (b'{"text": "x", "text": "y"}\n', "key 'text' stands there twice"),
    "NaN": (b'{"prompt": "x", "reference": {"answer": NaN}}\n', "NaN is not JSON"),
    "Infinity": (b'{"prompt": "x", "score": -Infinity}\n', "-Infinity is not JSON"),
    "a huge float": (b'{"prompt": "x", "score": 1e999}\n', "too large"),
    "a huge whole number": (b'{"prompt": "x", "n": 1' + b"0" * 400 + b"}\n", "64 bits"),
    "a monstrous number": (b'{"prompt": "x", "n": 1' + b"0" * 9000 + b"}\n", "64 bits"),
    "a depth bomb": (DEEP, "nested too deeply"),
    "a lone surrogate": (b'{"text": "a\\ud800b"}\n', "surrogate"),
    "a bare string": (b'"text"\n', "must be an object, not str"),
    "no JSON": (b"hello\n", "not JSON"),
    "more than one value": (b'{"text": "a"} {"text": "b"}\n', "more after"),
    "an object over many lines": (b'{\n "data": []\n}\n', "one JSON object over many lines"),
    "blank lines only": (b"\n \n", "blank lines"),
    "an empty array": (b"[]", "array is empty"),
    "an array without end": (b'[{"text": "a"}, {"text": "b', "Unterminated"),
    "an array cut after a comma": (b'[{"text": "a"},', "not JSON"),
    "an array cut after a value": (b'[{"text": "a"}', "no end"),
    "an array without comma": (b'[{"text": "a"} {"text": "b"}]', "comma is missing"),
    "more after an array": (b'[{"text": "a"}]\n[1]', "more after the end"),
    "a depth bomb in an array": (b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json_is_refused_in_one_sentence_that_names_the_file(name, tmp_path):
    data, words = BAD_JSON[name]
    preflight = refused(JsonLines(path=write(tmp_path, data)), words, "rows.jsonl")
    assert words in preflight[0]


def test_a_long_line_is_refused_without_reading_it_and_accepted_on_request(tmp_path):
    path = write(tmp_path, GOOD + b'{"text": "' + b"x" * 40_000_000 + b'"}\n')
    tracemalloc.start()
    refused(JsonLines(path=path), "rows.jsonl:2:", "longer than 4194304 bytes", "max_line_bytes")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    assert len(list(JsonLines(path=path, max_line_bytes=41_000_000).rows())) == 2
    array = write(tmp_path, b'[{"text": "' + b"x" * 10_000_000 + b'"}]', "a.json")
    refused(JsonLines(path=array), "longer than 4194304 bytes")


def test_missing_files_folders_empty_files_and_pipes_are_known_before_reading(tmp_path):
    write(tmp_path, b"", "empty.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    cases = {
        tmp_path / "emty.jsonl": "Did you mean 'empty.jsonl'",
        tmp_path / "nowhere" / "a.jsonl": "nor does the folder",
        tmp_path: "is a folder",
        tmp_path / "empty.jsonl": "is empty",
        tmp_path / "pipe.jsonl": "not a regular file",
    }
    for kind in (JsonLines, Table, PlainText):
        for path, words in cases.items():
            assert words in refused(kind(path=path), words)[0]
            with pytest.raises(DataError):
                kind(path=path).fingerprint()


def test_broken_and_exploding_gzip_files_are_refused(tmp_path):
    whole = gzip.compress(GOOD * 500 + os.urandom(50_000).hex().encode() + b"\n")
    cut = write(tmp_path, whole[: len(whole) // 2], "cut.jsonl.gz")
    refused(JsonLines(path=cut), "truncated or damaged")
    hurt = bytearray(whole)
    hurt[-6] ^= 255
    refused(JsonLines(path=write(tmp_path, bytes(hurt), "hurt.gz"), bad_rows="skip"), "damaged")
    bomb = write(tmp_path, gzip.compress(LONG * 6000), "bomb.jsonl.gz")
    refused(JsonLines(path=bomb), "more than 100 times its size")
    zeros = write(tmp_path, gzip.compress(b"\0" * 50_000_000), "zeros.gz")
    refused(PlainText(path=zeros), "zeros.gz:1")
    twice = write(tmp_path, gzip.compress(gzip.compress(GOOD)), "twice.gz")
    refused(JsonLines(path=twice), "gzip inside gzip")


def test_bad_tables_are_refused_with_their_line(tmp_path):
    cases = {
        b"question,answer\na,b\nc\n": ("t.csv:3", "1 cells, but 2 columns"),
        b"question,question\na,b\n": ("t.csv:1", "'question' twice"),
        b"question,\na,b\n": ("t.csv:1", "without a name"),
        b'question,answer\na,"b\n': ("t.csv:2", "quotation mark"),
        b"cat\tchat\ndog\tchien\n": ("t.csv:2", "header: [prompt, completion]"),
        b"question,answer\na,\n": ("t.csv:2", "empty"),
        b"question,answer\n": ("t.csv", "no usable row"),
        b"question,answer\na,caf\xe9\n": ("t.csv:2", "0xe9"),
    }
    for data, words in cases.items():
        refused(Table(path=write(tmp_path, data, "t.csv")), *words)


def test_unknown_and_impossible_options_are_refused(tmp_path):
    for options in ({"colums": {}}, {"limit": 0}, {"split": "dev"}, {"max_line_bytes": 1}):
        with pytest.raises(ValidationError):
            JsonLines(path=tmp_path, **options)


# Real files

SHAPES = {
    "sft/gpteacher_codegen.json.gz": ("prompt-completion", 4535),
    "sft/gpteacher_roleplay.json.gz": ("prompt-completion", 1923),
    "sft/ifeval_input_data.jsonl": ("prompt-only", 541),
    "sft/llms_from_scratch_instruction.json": ("prompt-completion", 1100),
    "preference/dpo_en_demo.json.gz": ("preference", 300),
    "preference/hh_rlhf_harmless_base_test.jsonl.gz": ("preference", 2308),
    "preference/llms_from_scratch_preference.json.gz": ("preference", None),
    "math/gsm8k_test.jsonl.gz": ("prompt-completion", 1319),
    "math/gsm8k_train.jsonl.gz": ("prompt-completion", 7473),
    "math/mawps_asdiv_train.csv.gz": ("prompt-completion", 3138),
    "mt/tatoeba_eng_deu.tsv.gz": ("prompt-completion", 1000),
    "mt/tatoeba_eng_fra.tsv.gz": ("prompt-completion", 1000),
    "mt/onmt_ende_10k.de.gz": ("language-modelling", 10_000),
    "creative/grimms_fairy_tales.txt.gz": ("language-modelling", None),
    "creative/tinyshakespeare.txt.gz": ("language-modelling", None),
    "creative/tinystories_v1_valid_head.txt.gz": ("language-modelling", None),
    "creative/wikitext2_test_raw.txt.gz": ("language-modelling", None),
    "creative/wikitext2_valid_raw.txt.gz": ("language-modelling", None),
}


def source_for(name):
    path = SHARED / name
    if ".json" in name:
        return JsonLines(path=path, bad_rows="skip")
    if ".tsv" in name:
        return Table(path=path, header=("prompt", "completion"))
    if ".csv" in name:
        return Table(path=path)
    return PlainText(path=path, document="line" if "onmt" in name else "paragraph")


@pytest.mark.parametrize("name", SHAPES)
def test_public_files_in_common_shapes_load_without_a_mapping(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not under {SHARED} (set TUNESMITH_SHARED)")
    kind, count = SHAPES[name]
    source = source_for(name)
    assert source.problems() == []
    rows = list(source.rows())
    assert {type_of(row) for row in rows} == {kind}
    assert count is None or len(rows) == count


NESTED = {
    "sft/self_instruct_seed_tasks.jsonl": {
        "prompt": "instruction",
        "completion": "instances.0.output",
    },
    "sft/mt_bench_question.jsonl": {"prompt": "turns.0"},
    "sft/oasst_en_100_tree.jsonl.gz": {
        "prompt": "prompt.text",
        "completion": "prompt.replies.0.text",
    },
    "preference/pandalm_testset_v1.json.gz": {"prompt": "instruction", "completion": "response1"},
}


@pytest.mark.parametrize("name", NESTED)
def test_the_mapping_that_an_error_suggests_makes_a_strange_file_load(name):
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not under {SHARED} (set TUNESMITH_SHARED)")
    columns = NESTED[name]
    said = ", ".join(f"{target}: {source}" for target, source in columns.items())
    assert f"columns: {{{said}}}" in JsonLines(path=SHARED / name).problems()[0]
    source = JsonLines(path=SHARED / name, columns=columns, bad_rows="skip")
    assert len(list(source.rows())) >= 75


# The nano world


def test_nano_rows_carry_technique_names_styles_references_and_disjoint_splits():
    source = Nano(train=30, validation=5, prompts=10, test=10)
    rows = list(source.rows())
    assert len(rows) == 5 * 55
    for row in rows:
        check_row(row)
        assert type_of(row) == "prompt-completion"
        assert row["task"] in TASKS.values()
        assert row["reference"]
    assert len({row["id"] for row in rows}) == len(rows)
    homes = {}
    for row in rows:
        assert homes.setdefault((row["task"], row["group"]), row["split"]) == row["split"]
    maths = [row for row in rows if row["task"] == "maths_reasoning"]
    assert {row["style"] for row in maths if row["split"] != "train"} == {"chain_of_thought"}
    assert {row["style"] for row in maths if row["split"] == "train"} == {
        "direct",
        "chain_of_thought",
    }
    assert all("step by step" not in row["question"] for row in maths)


def test_nano_items_and_their_styles_stay_when_more_are_asked_for():
    few = list(Nano(families=("maths",), train=20, validation=4, prompts=0, test=0).rows())
    many = {
        r["group"]: r
        for r in Nano(families=("maths",), train=90, validation=9, prompts=0, test=0).rows()
    }
    assert all(many[row["group"]] == row for row in few)


def test_nano_counts_can_be_given_by_family_and_the_direct_share_chosen():
    options = {"families": ("maths", "code"), "validation": 0, "prompts": 0, "test": 0}
    rows = list(Nano(train={"maths": 400, "code": 3}, direct_share=0.25, **options).rows())
    direct = sum(row["style"] == "direct" for row in rows if row["task"] == "maths_reasoning")
    assert len(rows) == 403
    assert 60 < direct < 140


def test_nano_prose_is_language_modelling_text_that_streams():
    source = Nano(form="prose", documents=10**9, validation=0)
    stream = source.rows()
    assert type_of(next(stream)) == "language-modelling"
    rows = list(Nano(form="prose", documents=20, validation=3).rows())
    assert [row["split"] for row in rows].count("validation") == 3
    assert len({row["text"] for row in rows}) == 23


def test_nano_repeats_itself_and_its_fingerprint_names_its_source():
    options = {"families": ("stories",), "train": 10, "validation": 1, "prompts": 1, "test": 1}
    assert list(Nano(**options).rows()) == list(Nano(**options).rows())
    assert list(Nano(**options).rows()) != list(Nano(**options, seed=8).rows())
    assert len(Nano().fingerprint()) == 64


def test_nano_refuses_what_cannot_be():
    assert "negative" in Nano(train=-1).problems()[0]
    assert "at least one family" in Nano(families=()).problems()[0]
    with pytest.raises(ValidationError):
        Nano(families=("poems",))


def test_importing_the_sources_imports_neither_generators_nor_torch():
    code = (
        "import sys, tunesmith_plugins.sources.nano, tunesmith_plugins.sources.json_lines,"
        "tunesmith_plugins.sources.table, tunesmith_plugins.sources.plain_text;"
        "heavy = ('torch', 'numpy', 'tunesmith_plugins.sources.nano.world');"
        "print([m for m in heavy if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
