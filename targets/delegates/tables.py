"""Tables of the operators that each delegate takes, with the source of every row: YAML files beside this one."""

import datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from targets.errors import TargetError
from targets.strict import Strict, parse, read_yaml

TABLES = Path(__file__).parent
# Delegates that run on a CPU with the kernels that this host has too, so that a host tells what they take.
CPU_DELEGATES = (None, "xnnpack", "cpu", "wasm")

Dtype = Literal[
    "float16", "float32", "float64", "int2", "int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16",
    "uint32", "uint64", "bool",
]  # fmt: skip
Dtypes = Annotated[tuple[Dtype, ...], Field(min_length=1)]
Kind = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]  # as `targets.runtimes.base.operator_name` makes it
Text = Annotated[str, Field(min_length=1)]


class Source(Strict):
    """Where rows come from: a page or file, its version, and its date or the day of reading."""

    where: Text
    version: Text
    date: datetime.date

    @property
    def told(self) -> str:
        return f"{self.where} ({self.version}, {self.date})"


class Limits(Strict):
    """An inclusive range of whole numbers, open at an end that is not given."""

    min: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _is_a_range(self) -> "Limits":
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self

    def holds(self, value: int) -> bool:
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    @property
    def told(self) -> str:
        if self.min == self.max:
            return str(self.min)
        if self.max is None:
            return f"{self.min} or more"
        return f"at most {self.max}" if not self.min else f"{self.min} to {self.max}"


class Row(Strict):
    """Operators that a delegate takes under the same conditions.

    `dtypes` are those of the tensors that an inference computes, numpy's names, None for the table's and `any` where
    the source names none; `weights` those of constants of two or more dimensions. `one_dtype`: all tensors must have
    the same. `rank` and `elements` are those of the first tensor that is computed, `inputs` how many there are, and
    `constant` the places of inputs that must not be computed.
    """

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)]
    dtypes: Dtypes | Literal["any"] | None = None
    weights: Dtypes | None = None
    one_dtype: bool = False
    rank: Limits | None = None
    elements: Limits | None = None
    inputs: Limits | None = None
    constant: tuple[Annotated[int, Field(ge=0)], ...] = ()
    source: str


class DelegateTable(Strict):
    """What one delegate of one runtime takes.

    `groups`: it reads operators between DequantizeLinear and QuantizeLinear as 8-bit ones. `first_piece_only`: of a
    graph that is cut it takes the first piece alone. `inner_dimensions`: only so many of the last dimensions may be
    longer than 1. `complete` is false where a source could not be read to its end. `dtypes`, with `dtypes_source`,
    hold for rows that name none; None: the sources name none.
    """

    delegate: Text
    runtime: Literal["onnxruntime", "litert"]
    name: Text
    deprecated: Text | None = None
    sources: dict[str, Source] = Field(min_length=1)
    notes: tuple[Text, ...] = ()
    groups: bool = False
    first_piece_only: bool = False
    inner_dimensions: int | None = Field(default=None, ge=1)
    complete: bool = True
    dtypes: Dtypes | None = None
    dtypes_source: str | None = None
    operators: Annotated[tuple[Row, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _rows_have_sources(self) -> "DelegateTable":
        named = [row.source for row in self.operators] + ([self.dtypes_source] if self.dtypes_source else [])
        unknown = sorted(set(named) - set(self.sources))
        if unknown:
            raise ValueError(f"source {unknown[0]!r} is named, sources has {', '.join(self.sources)}")
        if (self.dtypes is None) != (self.dtypes_source is None):
            raise ValueError("dtypes and dtypes_source: give both, or neither")
        kinds = [kind for row in self.operators for kind in row.kinds]
        twice = next((kind for kind in kinds if kinds.count(kind) > 1), None)
        if twice:
            raise ValueError(f"operator {twice} stands in two rows")
        return self

    def row(self, kind: str) -> Row | None:
        """The row of an operator, None for one that stands in none."""
        return next((row for row in self.operators if kind in row.kinds), None)

    def dtypes_of(self, row: Row) -> tuple[str, ...] | None:
        """The dtypes that a row takes, None where the sources name none."""
        return self.dtypes if row.dtypes is None else None if row.dtypes == "any" else row.dtypes

    @property
    def sources_told(self) -> str:
        return "; ".join(source.told for source in self.sources.values())


def read_table(file: Path) -> DelegateTable:
    """The table in a YAML file, `<delegate>-<runtime>.yaml`. Raises TargetError for one that is wrong."""
    table = parse(DelegateTable, read_yaml(file), f"delegate table {file.name}")
    if file.stem != f"{table.delegate}-{table.runtime}":
        raise TargetError(f"delegate table {file.name}: it is of {table.delegate}-{table.runtime}; name it so")
    return table


@lru_cache
def delegate_tables() -> dict[tuple[str, str], DelegateTable]:
    """The tables there are, by runtime and delegate."""
    tables = map(read_table, sorted(TABLES.glob("*.yaml")))
    return {(table.runtime, table.delegate): table for table in tables}


def delegate_table(runtime: str, delegate: str | None) -> DelegateTable | None:
    """The table of a runtime's delegate, None where there is none."""
    return delegate_tables().get((runtime, delegate)) if delegate is not None else None


def delegates_with_tables(runtime: str) -> list[str]:
    return sorted(delegate for name, delegate in delegate_tables() if name == runtime)
