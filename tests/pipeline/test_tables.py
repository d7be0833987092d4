"""CSV, TSV and Parquet files as sources of texts."""

from pathlib import Path

import pytest

from pipeline.data.samples import class_names
from pipeline.errors import InputError
from targets.profile import Task
from tests.samples import contents, table

TEXT: Task = "text-classification"


@pytest.fixture(params=["csv", "parquet"])
def table_source(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_columns_become_texts_and_labels(table_source: str, tmp_path: Path) -> None:
    texts = ["NA", "null", 'say "hi",\nthere', "été ☀", " 12 "]
    file = table(tmp_path / f"x.{table_source}", review=texts, stars=[5, 1, 10, 5, 1], other=[0] * 5)
    found = contents(TEXT, source=table_source, path=file, text_column="review", label_column="stars")
    assert found.train.texts == texts
    assert class_names(found.train.labels) == ("1", "5", "10")
    assert [str(label) for label in found.train.labels] == ["5", "1", "10", "5", "1"]


def test_where_keeps_the_rows_that_have_the_value(table_source: str, tmp_path: Path) -> None:
    file = table(
        tmp_path / f"x.{table_source}", text=list("abcd"), label=[0, 1, 0, 1], year=[1, 2, 2, 2], kind=list("xyxx")
    )
    found = contents(TEXT, source=table_source, path=file, where={"year": "2", "kind": "x"})
    assert found.train.texts == ["c", "d"]
    assert found.train.origin(0).endswith("row 3")
    with pytest.raises(InputError, match="no row where kind is 'z'; found there: 'x', 'y'"):
        contents(TEXT, source=table_source, path=file, where={"kind": "z"})


def test_a_test_path_is_read_like_the_other(table_source: str, tmp_path: Path) -> None:
    train = table(tmp_path / f"a.{table_source}", text=list("abcd"), label=["x", "y", "x", "y"])
    test = table(tmp_path / f"b.{table_source}", text=["e", "f"], label=["x", "y"])
    found = contents(TEXT, source=table_source, path=train, test_path=test)
    assert found.test is not None
    assert found.test.texts == ["e", "f"]
    with pytest.raises(InputError, match=r"data\.test_path: .*no such file"):
        contents(TEXT, source=table_source, path=train, test_path=tmp_path / "c")


def test_missing_columns_are_named_with_those_that_are_there(table_source: str, tmp_path: Path) -> None:
    file = table(tmp_path / f"x.{table_source}", review=["a"], stars=[1])
    with pytest.raises(InputError, match="no column 'text', 'label', 'lang'; it has 'review', 'stars'"):
        contents(TEXT, source=table_source, path=file, where={"lang": "en"})


@pytest.mark.parametrize("empty", ["", "   ", None])
def test_an_empty_text_is_named_by_its_row(table_source: str, tmp_path: Path, empty: str | None) -> None:
    file = table(tmp_path / f"x.{table_source}", text=["a", empty, "c"], label=[0, 1, 0])
    with pytest.raises(InputError, match=r"row 2: (the text is empty|column 'text' holds nothing)"):
        contents(TEXT, source=table_source, path=file)


@pytest.mark.parametrize("empty", ["", " ", None])
def test_a_missing_label_is_named_by_its_row(table_source: str, tmp_path: Path, empty: str | None) -> None:
    file = table(tmp_path / f"x.{table_source}", text=["a", "b", "c"], label=["x", "y", empty])
    with pytest.raises(InputError, match="row 3: no label; remove the row or fill it in"):
        contents(TEXT, source=table_source, path=file)


def test_a_table_without_rows_is_told(table_source: str, tmp_path: Path) -> None:
    file = table(tmp_path / f"x.{table_source}", text=[], label=[])
    with pytest.raises(InputError, match="holds no samples"):
        contents(TEXT, source=table_source, path=file)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00text", b'text,label\n"never closed,0\n'])
def test_a_file_that_is_no_table_is_told(table_source: str, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / f"x.{table_source}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"x.{table_source}: (can't be read as|no column)"):
        contents(TEXT, source=table_source, path=file)


@pytest.mark.parametrize("row", ["cut short", "well, a comma,1"])
def test_a_row_with_other_fields_than_the_header_is_not_read_wrongly(tmp_path: Path, row: str) -> None:
    (tmp_path / "x.csv").write_text(f"text,label\n\n{row}\nfine,0\n")
    with pytest.raises(InputError, match=r"x\.csv, line 3: found . fields, expected 2 .*quotes"):
        contents(TEXT, source="csv", path=tmp_path / "x.csv")


def test_a_text_may_be_long(tmp_path: Path) -> None:
    file = table(tmp_path / "x.csv", text=["a" * 300_000, "b"], label=[0, 1])
    assert contents(TEXT, source="csv", path=file).train.texts == ["a" * 300_000, "b"]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("\ufefftext,label\na,0\nb,1\n".encode())
    assert contents(TEXT, source="csv", path=tmp_path / "x.csv").train.texts == ["a", "b"]


def test_tabs_separate_a_tsv(tmp_path: Path) -> None:
    file = table(tmp_path / "x.tsv", text=["a, b", "c"], label=["x", "y"])
    assert contents(TEXT, source="csv", path=file).train.texts == ["a, b", "c"]


def test_parquet_labels_keep_their_meaning(tmp_path: Path) -> None:
    for labels, names in (([True, False, True], ("False", "True")), ([2.0, 10.0, 2.0], ("2", "10"))):
        file = table(tmp_path / "x.parquet", text=list("abc"), label=labels)
        assert class_names(contents(TEXT, source="parquet", path=file).train.labels) == names
    file = table(tmp_path / "x.parquet", text=list("abc"), label=[0.5, 1.0, 2.0])
    with pytest.raises(InputError, match=r"row 1: label 0.5 is no class"):
        contents(TEXT, source="parquet", path=file)
    file = table(tmp_path / "x.parquet", text=[1, 2, 3], label=list("aba"))
    with pytest.raises(InputError, match="row 1: column 'text' holds 1, expected a text"):
        contents(TEXT, source="parquet", path=file)


def test_a_folder_of_parquet_files_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    table(tmp_path / "parts" / "0.parquet", text=["a", "b"], label=[0, 1])
    table(tmp_path / "parts" / "1.parquet", text=["c"], label=[0])
    assert contents(TEXT, source="parquet", path=tmp_path / "parts").train.texts == ["a", "b", "c"]


def test_a_label_with_a_line_break_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path / "x.csv", text=["a", "b"], label=["x", "y\nz"])
    with pytest.raises(InputError, match=r"row 2: label .* has a line break"):
        contents(TEXT, source="csv", path=file)
