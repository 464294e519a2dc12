"""CSV files, as loggers, spreadsheets and programs write them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from keras_s4 import extras
from keras_s4.recordings.frame import Frame, join_names, to_numbers
from keras_s4.recordings.layout import DROP, Source
from keras_s4.recordings.readers.csv_dialect import SPACES, Dialect, find_dialect, read_text

# The column of fields beyond the last one.
BEYOND = "\0"
# What a column without any number may hold to be one of missing numbers, and not of names.
NAN = {"", "nan", "NaN", "NAN", "-", "--", "?", "#N/A", "n/a", "inf", "-inf"}


def read_csv(path: Path, name: str, source: Source) -> list[Frame]:
    """The columns of a CSV file; see `csv_dialect` for what is found out.

    Raises:
        ValueError: it is empty, no text, or its lines have different numbers of fields.
        ModuleNotFoundError: pandas is not installed.
    """
    dialect = find_dialect(path, source)
    table = _parse(path, dialect, source, None)
    decimals = dialect.decimal if source.decimal or dialect.delimiter == "," else dialect.decimal + ","
    columns = {column: _values(table[column], decimals) for column in dialect.names}
    return [Frame(name, columns, units=dialect.units, first=dialect.skipped + 1)]


def read_texts(path: Path, source: Source | None = None) -> dict[str, np.ndarray]:
    """The columns of a CSV file as texts as they are written, arrays of objects: "007" stays what it is.

    Raises:
        ValueError: see `read_csv`.
    """
    source = source or Source()
    table = _parse(path, find_dialect(path, source), source, str)
    return {column: _texts(table[column]) for column in table.columns}


def _parse(path: Path, dialect: Dialect, source: Source, dtype):
    """The table of pandas, without its header; its fields are texts where not all of a column are numbers."""
    pandas = import_pandas(path)
    names = list(dialect.names)
    try:
        table = pandas.read_csv(
            io.StringIO(_data(path, dialect)),
            sep=dialect.delimiter,
            decimal=dialect.decimal,
            header=None,
            names=[*names, BEYOND],
            index_col=False,
            skip_blank_lines=len(names) > 1,  # or else it is a missing value
            skipinitialspace=True,
            keep_default_na=False,
            na_values=[""] if dtype is None else [],
            dtype=dtype,
            on_bad_lines="skip" if source.bad_lines == DROP else "error",
            low_memory=False,
        )
    except pandas.errors.ParserError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise _bad_lines(
            path, names, f"{reason}, counted from the first line of data, {dialect.skipped + 1}"
        ) from error
    except pandas.errors.EmptyDataError as error:
        raise ValueError(f"{path.name} is empty: it holds no line of data.") from error
    beyond = _has_text(table.pop(BEYOND))
    if beyond.any() and source.bad_lines != DROP:
        raise _bad_lines(path, names, f"line {dialect.skipped + 1 + int(beyond.to_numpy().argmax())} has one more")
    return table[~beyond]


def _data(path: Path, dialect: Dialect) -> str:
    """The lines of data, without what is none."""
    text, _ = read_text(path, dialect.encoding)
    lines = text.removeprefix("\ufeff").splitlines()[dialect.skipped :]
    if dialect.comment:
        lines = [line for line in lines if not line.lstrip().startswith(dialect.comment)]
    if dialect.trailing:
        lines = [line.rstrip().removesuffix(dialect.trailing) for line in lines]
    if dialect.delimiter == SPACES:
        lines = [line.strip() for line in lines]
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join(lines)


def _bad_lines(path: Path, names: list[str], reason: str) -> ValueError:
    return ValueError(
        f"{path.name} has lines with more fields than its {len(names)} columns ({join_names(names)}): {reason}. Mend "
        'the file, or leave out such lines with [recordings] bad_lines = "drop".'
    )


def _values(series, decimals: str) -> np.ndarray:
    """A column as float64 where all that is there is numbers or stands for none, or else as texts.

    Args:
        series: of pandas.
        decimals: point or comma, or what it may be: the first lines may hold whole numbers alone.
    """
    if series.dtype.kind in "iuf":
        return finite(series.to_numpy(np.float64))
    texts = _texts(series)
    distinct = set(texts)
    if distinct & {"True", "False"}:
        return texts
    for decimal in dict.fromkeys(decimals):
        has_number = any(
            isinstance(found := to_numbers([text], decimal), np.ndarray) and found[0] == found[0] for text in distinct
        )
        numbers = to_numbers(texts, decimal) if has_number or distinct <= NAN else ""
        if not isinstance(numbers, str):
            return numbers
    return texts


def _texts(series) -> np.ndarray:
    """A column as texts, an array of objects; "" where nothing is."""
    there = series.notna()
    return np.where(there, series.where(there, "").astype(str).str.strip(), "").astype(object)


def _has_text(series):
    """Whether each field holds something."""
    there = series.notna()
    return there & (series.astype(str).str.strip() != "") if there.any() else there


def finite(values: np.ndarray) -> np.ndarray:
    """Numbers, NaN instead of infinite ones."""
    return values if np.isfinite(values).all() else np.where(np.isfinite(values), values, np.nan)


def import_pandas(path: Path):
    """pandas, which reads CSV files and Parquet.

    Raises:
        ModuleNotFoundError: it is not installed; says how.
    """
    with extras.needed_for(f"Tables such as {path.name}", "data"):
        import pandas
    return pandas
