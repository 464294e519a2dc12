"""What is in a folder of recordings, before anything is decided."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from keras_s4.brief import Brief
from keras_s4.datasets.surveying.columns import Roles, are_unnamed, find_roles
from keras_s4.datasets.surveying.paths import Pattern, find_pattern
from keras_s4.datasets.surveying.rows import RowsFound, find_human_activity, find_rows
from keras_s4.datasets.surveying.tables import TableFound, find_table
from keras_s4.datasets.surveying.timing import Timing, measure_times
from keras_s4.recordings.frame import Frame, count, join_names, relative_name
from keras_s4.recordings.joining_files import frames_of_files
from keras_s4.recordings.layout import ROWS, STEPS, Groups, Labels, Source
from keras_s4.recordings.paths import find_files, visible_files
from keras_s4.recordings.readers import ADVICE, FORMATS, SUFFIXES, read_file
from keras_s4.recordings.readers.csv_dialect import find_dialect

# A folder of so few tables beside recordings of another format: the tables say something of them.
FEW_TABLES = 5
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class Look(Brief):
    """What is in a folder.

    Args:
        folder: that was looked at.
        format: of the recordings.
        names: of their files.
        pattern: of their paths.
        table: of labels, groups or events; None if there is none.
        rows: if rows of files are recordings.
        roles: of the columns.
        timing: of the steps.
        frames: of the recordings, with the names of their files.
        units: of columns, where files say them.
        others: notes on files that are none of these.
        odd: what is wrong with files whose paths are those of recordings; "" if there are none.
        mono: whether the channels of sounds are averaged into one, since not all have as many.
    """

    folder: Path
    format: str
    names: tuple[str, ...]
    pattern: Pattern
    table: TableFound | None
    rows: RowsFound | None
    roles: Roles
    timing: Timing
    frames: list[tuple[str, Frame]]
    units: dict[str, str]
    others: tuple[str, ...]
    odd: str = ""
    mono: bool = False

    @property
    def source(self) -> Source:
        """How the files are read."""
        layout = ROWS if self.rows else STEPS
        return Source(folder=self.folder, path=self.pattern.text, layout=layout, mono=self.mono)


def look_at(folder: Path, progress: Progress | None = None) -> Look:
    """Looks at a folder.

    Args:
        folder: of recordings, as they are.
        progress: called as `progress(files read, files)`.

    Raises:
        ValueError: there is no recording, or one cannot be read; says which.
        OSError: a file cannot be read.
    """
    files = _readable_files(folder)
    format, recordings, candidates, others = _choose_recordings(folder, files)
    known = find_human_activity([relative_name(path, folder) for path in files])
    others = [] if known else others
    table = None if known else find_table(folder, candidates, recordings)
    if table is not None:
        others = [note for note in others if not note.endswith(f": {table.path}")]
        recordings = [path for path in recordings if relative_name(path, folder) != table.path]
    rows = known or _look_for_rows(folder, format, recordings)
    pattern = _find_pattern(folder, format, recordings, table, rows)
    if known is not None:
        recordings = list(find_files(folder, pattern.text))
    source = Source(folder=folder, path=pattern.text, layout=ROWS if rows else STEPS)
    matched = find_files(folder, pattern.text, [folder / table.path] if table else ())
    odd = [path for path in matched if path not in set(recordings)]
    matched = {path: facts for path, facts in matched.items() if path not in set(odd)}
    labels = Labels(column=rows.label or "label", lines=rows.label_lines) if rows else Labels()
    groups = Groups(column=rows.group or "group", lines=rows.group_lines) if rows else Groups()
    faults = {relative_name(path, folder): _fault_of(path, folder) for path in odd}
    frames = _read_all(matched, source, labels, groups, progress, faults)
    mono = format == "wav" and len({len(frame.columns) for _, frame in frames}) > 1
    if mono:
        frames = _read_all(matched, dataclasses.replace(source, mono=True), labels, groups, None, faults)
    only = [frame for _, frame in frames]
    if rows is None:
        roles = find_roles(only, "label" in pattern.found or _has_labels(table))
        if format == "wav":
            roles = dataclasses.replace(roles, label="", group="", recording=())
    else:
        used = {labels.column, groups.column, "split"}
        roles = Roles(sensors=tuple(name for name in only[0].columns if name not in used))
    return Look(
        folder=folder,
        format=format,
        names=tuple(name for name in (relative_name(path, folder) for path in matched) if name not in faults),
        pattern=pattern,
        table=table,
        rows=rows,
        roles=roles,
        timing=measure_times(only, roles.time, roles.time_unit),
        frames=frames,
        units={name: unit for frame in only[:1] for name, unit in frame.units.items()},
        others=tuple(others),
        odd=_explain(faults),
        mono=mono,
    )


def _find_pattern(
    folder: Path, format: str, recordings: Sequence[Path], table: TableFound | None, rows: RowsFound | None
) -> Pattern:
    """The pattern of the paths of recordings, and what it says of them."""
    if rows is not None and rows.path:
        matched = find_files(folder, rows.path).values()
        said = {field: tuple(dict.fromkeys(facts[field] for facts in matched)) for field in ("split", "sensor")}
        return Pattern(rows.path, said, {"split": "the layout of UCI HAR"})
    labelled = bool(rows.label) if rows is not None else bool(_look_at_columns(folder, recordings, table).label)
    names = [relative_name(path, folder) for path in recordings]
    return find_pattern(names, labelled or _has_labels(table) or format == "npz")


def _has_labels(table: TableFound | None) -> bool:
    return table is not None and bool(table.label or table.targets)


def _read_all(
    files: Mapping[Path, dict[str, str]],
    source: Source,
    labels: Labels,
    groups: Groups,
    progress: Progress | None,
    faults: dict[str, str],
) -> list[tuple[str, Frame]]:
    """The recordings; what is wrong with files that hold none is put into `faults`, by their names.

    Raises:
        ValueError: no file holds one.
    """
    found: list[tuple[str, Frame]] = []
    if any("sensor" in facts for facts in files.values()):
        found = [pair for pair in frames_of_files(files, source, labels, groups, progress) if len(pair[1])]
        files = {}
    for done, (path, facts) in enumerate(files.items(), 1):
        name = relative_name(path, source.folder)
        try:
            frames = [(name, frame) for _, frame in frames_of_files({path: facts}, source, labels, groups)]
        except ValueError as error:
            faults[name] = str(error)
        else:
            found += [(name, frame) for name, frame in frames if len(frame)]
            if not any(len(frame) for _, frame in frames):
                faults[name] = f"{name} holds no row of data"
        if progress is not None:
            progress(done, len(files))
    if not found:
        raise ValueError(next(iter(faults.values()), f"{source.folder} has no recording."))
    return found


def _fault_of(path: Path, folder: Path) -> str:
    """What is wrong with a file that is like recordings by its path alone."""
    name = relative_name(path, folder)
    try:
        return f"{name} has other columns than most ({join_names(read_file(path, name, Source())[0].columns)})"
    except ValueError as error:
        return str(error)


def _explain(faults: Mapping[str, str]) -> str:
    """What is wrong with the first of these files, and which others there are; "" if there are none."""
    if not faults:
        return ""
    first, *others = faults
    more = f" (and {count(len(others), 'more file')}: {join_names(others)})" if others else ""
    them = "them" if others else "it"
    return f"{faults[first].rstrip('.')}{more}. Move {them} away, or choose the files with [recordings] path."


def _readable_files(folder: Path) -> list[Path]:
    """The files of formats that are read.

    Raises:
        ValueError: there are none; says what is there.
    """
    if not folder.is_dir():
        what = "is a file; give the folder that it is in" if folder.exists() else "does not exist"
        raise ValueError(f"{folder} {what}. Expected a folder of recordings.")
    files = visible_files(folder)
    found = [path for path in files if path.suffix.casefold() in SUFFIXES]
    if found:
        return found
    if not files:
        raise ValueError(f"{folder} is empty; expected recordings: {', '.join(FORMATS)} files.")
    advice = next((f" {text}." for suffix, text in ADVICE.items() if files[0].suffix.casefold() == suffix), "")
    raise ValueError(
        f"{folder} has no file of recordings: {join_names(relative_name(path, folder) for path in files)}; expected "
        f"{', '.join(SUFFIXES)}.{advice}"
    )


def _choose_recordings(folder: Path, files: Sequence[Path]) -> tuple[str, list[Path], list[Path], list[str]]:
    """The format of the recordings, their files, files that may be tables, and notes on the others."""
    by_format: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_format[SUFFIXES[path.suffix.casefold()]].append(path)
    tables = by_format.get("csv", [])
    rest = {format: own for format, own in by_format.items() if format != "csv"}
    if rest and len(tables) <= max(FEW_TABLES, max(map(len, rest.values())) // 10):
        format = max(rest, key=lambda name: len(rest[name]))
        recordings, candidates = rest[format], tables
    else:
        format = max(by_format, key=lambda name: len(by_format[name]))
        recordings, candidates = by_format[format], tables
    notes = [
        f"{count(len(own), name + ' file')} left out" for name, own in by_format.items() if name not in (format, "csv")
    ]
    if format == "csv":
        recordings, odd = _largest_kind(recordings)
        candidates = [*odd, *(recordings if len(recordings) <= 2 else ())]
        if odd:
            notes.append(
                f"{count(len(odd), 'file')} with other columns than most, so no recordings, or none of the same kind: "
                f"{join_names((relative_name(path, folder) for path in odd), 3)}"
            )
    return format, recordings, candidates, notes


def _largest_kind(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Files with the columns that most have, in any order and with others beside them, and the rest."""
    kinds: dict[tuple[str, frozenset[str]], list[Path]] = defaultdict(list)
    for path in files:
        try:
            names = find_dialect(path, Source()).names
        except ValueError:
            names = ()
        kinds[(path.suffix.casefold(), frozenset(names))].append(path)
    weights = {kind: (len(own), sum(path.stat().st_size for path in own)) for kind, own in kinds.items()}
    suffix, wanted = max(weights, key=lambda kind: (bool(kind[1]), weights[kind]))
    same = [
        path
        for kind, own in kinds.items()
        if kind == (suffix, wanted) or (kind[0] == suffix and kind[1] > wanted and wanted and not are_unnamed(wanted))
        for path in own
    ]
    chosen = set(same)
    return [path for path in files if path in chosen], [path for path in files if path not in chosen]


def _look_for_rows(folder: Path, format: str, recordings: Sequence[Path]) -> RowsFound | None:
    if format not in ("csv", "parquet") or not recordings:
        return None
    path = recordings[0]
    return find_rows(read_file(path, relative_name(path, folder), Source()))


def _look_at_columns(folder: Path, recordings: Sequence[Path], table: TableFound | None) -> Roles:
    """The roles of columns by a few files, which tell where the labels are."""
    few = recordings[:: max(1, len(recordings) // 8)]
    found = _read_all({path: {} for path in few}, Source(folder=folder), Labels(), Groups(), None, {})
    frames = [frame for _, frame in found]
    return find_roles(frames, _has_labels(table))
