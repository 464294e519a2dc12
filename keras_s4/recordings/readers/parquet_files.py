"""Parquet files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_s4 import extras
from keras_s4.recordings.frame import DATE, Frame
from keras_s4.recordings.layout import Source
from keras_s4.recordings.readers.csv_files import finite


def read_parquet(path: Path, name: str, source: Source) -> list[Frame]:
    """The columns of a Parquet file; times and dates as seconds, from 1970 on.

    Raises:
        ValueError: it is damaged, or a column holds something other than numbers, texts, truth values and times.
        ModuleNotFoundError: pyarrow is not installed.
    """
    with extras.needed_for(f"Tables such as {path.name}", "data"):
        import pyarrow
        import pyarrow.parquet
    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path.name} is no Parquet file, or damaged: {error}") from error
    kinds = dict(zip(table.column_names, table.schema.types, strict=True))
    # The numbers of rows that pandas kept of a table of which it took some.
    names = [key for key in kinds if not key.startswith("__index_level_") or _is_time(kinds[key])]
    columns = {key: _values(table.column(key), f"{path.name} has in column {key!r}") for key in names}
    return [Frame(name, columns, units={key: DATE for key in names if _is_time(kinds[key])})]


def _is_time(kind) -> bool:
    import pyarrow

    return pyarrow.types.is_timestamp(kind) or pyarrow.types.is_duration(kind)


def _values(column, who: str) -> np.ndarray:
    import pyarrow

    types, kind = pyarrow.types, column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if _is_time(kind):
        second = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}[kind.unit]
        return second * column.cast(pyarrow.int64()).to_pandas().to_numpy(np.float64, na_value=np.nan)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return finite(column.cast(pyarrow.float64(), safe=False).to_pandas().to_numpy(np.float64, na_value=np.nan))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind) or types.is_date(kind):
        return np.array(["" if value is None else str(value).strip() for value in column.to_pylist()], object)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    raise ValueError(f"{who} values of type {kind}; expected numbers, texts or times, one a row.")
