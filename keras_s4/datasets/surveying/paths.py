"""What the paths of recordings tell: which folder is the class, which part of a name the person."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from keras_s4.datasets.surveying.words import GROUP, LABEL, SENSORS, are_splits, looks_like_groups, words_of
from keras_s4.recordings.paths import PathPattern

# Between the parts of a file's name.
_SEPARATORS = re.compile(r"([_\-. +,]+)")


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern of paths, and what was found by it.

    Args:
        text: of the pattern, `keras_s4.recordings.paths`.
        found: the texts of each field.
        reason: why it is thought so, for each field.
    """

    text: str
    found: dict[str, tuple[str, ...]]
    reason: dict[str, str]


def find_pattern(names: Sequence[str], labels_elsewhere: bool) -> Pattern:
    """The pattern of paths that says most.

    Args:
        names: of the files, relative to their folder, with slashes.
        labels_elsewhere: whether a column or table has the labels.
    """
    paths = [PurePosixPath(name) for name in names]
    suffix = Counter(path.suffix for path in paths).most_common(1)[0][0]
    depths = Counter(len(path.parts) for path in paths)
    if len(depths) > 1:
        return Pattern(f"**/*{suffix}", {}, {})
    named, _ = _name_pattern([path.name for path in paths], wants_label=not labels_elsewhere, taken=set())
    in_names = "{label" in named
    roles = _folder_roles([path.parts[:-1] for path in paths], labels_elsewhere, in_names)
    folders = [f"{{{role}}}" if role not in ("*", "") else "*" for role, _ in roles]
    folders = [_constant(paths, level) or folder for level, folder in enumerate(folders)]
    taken = {role for role, _ in roles}
    name, name_reasons = _name_pattern(
        [path.name for path in paths], wants_label="label" not in taken and not labels_elsewhere, taken=taken
    )
    text = "/".join([*folders, name])
    reasons = {role: reason for role, reason in roles if role not in ("*", "")} | name_reasons
    compiled = PathPattern(text)
    matches = [compiled.match(path) for path in names]
    if not all(match is not None for match in matches):
        return Pattern(f"**/*{suffix}", {}, {})
    found = {field: tuple(dict.fromkeys(match[field] for match in matches)) for field in compiled.fields}
    return Pattern(text, found, reasons)


def _constant(paths: Sequence[PurePosixPath], level: int) -> str:
    """The name of a folder that all paths have at this level; "" if there are several."""
    names = {path.parts[level] for path in paths}
    (name,) = names if len(names) == 1 else ("",)
    return "" if set(name) & set("*?{") else name


def _folder_roles(
    folders: Sequence[tuple[str, ...]], labels_elsewhere: bool, labels_in_names: bool
) -> list[tuple[str, str]]:
    """What each level of folders is, and why: "split", "group", "label" or "*"."""
    levels = [sorted(set(level)) for level in zip(*folders, strict=True)]
    roles: list[tuple[str, str]] = []
    for names in levels:
        if len(names) < 2:
            roles.append(("*", ""))
        elif are_splits(names) and "split" not in [role for role, _ in roles]:
            roles.append(("split", "folders of this name"))
        else:
            roles.append(("", ""))
    for index, names in enumerate(levels):
        if not roles[index][0] and looks_like_groups(names) and "group" not in [role for role, _ in roles]:
            others = [other for other, (role, _) in enumerate(roles) if not role and other != index]
            if others or labels_elsewhere or labels_in_names:
                roles[index] = ("group", "folders with numbers")
    for index in reversed(range(len(levels))):
        if roles[index][0]:
            continue
        there = [role for role, _ in roles]
        persons = "group" in there and labels_in_names
        if "label" not in there and not labels_elsewhere and not persons:
            roles[index] = ("label", "the names of the folders")
        elif "group" not in there:
            roles[index] = ("group", "the names of the folders")
        else:
            roles[index] = ("*", "")
    return roles


def _name_pattern(names: Sequence[str], wants_label: bool, taken: set[str]) -> tuple[str, dict[str, str]]:
    """The pattern of file names, and why."""
    suffix = Counter(PurePosixPath(name).suffix for name in names).most_common(1)[0][0]
    anything = f"*{suffix}", {}
    stems = [name[: -len(suffix)] if name.casefold().endswith(suffix.casefold()) else name for name in names]
    if wants_label and (found := _label_first(stems)):
        return f"{found}{suffix}", {"label": "the beginning of the files' names"}
    pieces = [_SEPARATORS.split(stem) for stem in stems]
    if len({len(own) for own in pieces}) > 1 or len({tuple(own[1::2]) for own in pieces}) > 1:
        return anything
    tokens = list(zip(*(own[::2] for own in pieces), strict=True))
    separators = [*pieces[0][1::2], ""]
    text, reasons = "", {}
    several = any(_are_sensors(token) for token in tokens)
    for token, separator in zip(tokens, separators, strict=True):
        distinct = sorted(set(token))
        part = "*"
        if len(distinct) == 1 and not set(distinct[0]) & set("*?{"):
            part = distinct[0]
        elif several and "sensor" not in reasons and _are_sensors(token):
            part, reasons["sensor"] = "{sensor}", "files of several sensors of a recording"
        elif wants_label and "label" not in reasons and _are_labels(token):
            part, reasons["label"] = "{label}", "a part of the files' names"
        elif "group" not in taken and "group" not in reasons and (prefix := _group_prefix(token)) is not None:
            part, reasons["group"] = f"{prefix}{{group}}", "a part of the files' names"
        elif several and "recording" not in reasons:
            part, reasons["recording"] = "{recording}", "what is left of the files' names"
        text += part + separator
    return (text + suffix, reasons) if reasons else anything


def _label_first(stems: Sequence[str]) -> str:
    """A pattern in which a name begins with the class: "walk.4f2a" as Edge Impulse has it, "walk01", "walk_fast-3"."""
    if all("." in stem for stem in stems) and _are_labels([stem.split(".")[0] for stem in stems], numbers=True):
        return "{label}.*"
    if all(re.fullmatch(r"[^\W\d_]+\d+", stem) for stem in stems) and _are_labels(
        [re.sub(r"\d+$", "", stem) for stem in stems]
    ):
        return "{label:w}{}"
    counted = [re.fullmatch(r"(.*?[^\W\d])[_\- ]+\(?\d+\)?", stem) for stem in stems]
    separators = {stem[len(match[1])] for stem, match in zip(stems, counted, strict=True) if match}
    several = any(len(_SEPARATORS.split(match[1])) > 1 for match in counted if match)
    if all(counted) and several and len(separators) == 1 and _are_labels([match[1] for match in counted]):
        varied = len({len(_SEPARATORS.split(match[1])) for match in counted}) > 1
        return "{label}" + separators.pop() + "{:d}" if varied else ""
    return ""


def _are_sensors(token: Sequence[str]) -> bool:
    """Whether parts of names are sensors, each of equally many files."""
    counts = Counter(text.casefold() for text in token)
    return len(counts) > 1 and set(counts) <= SENSORS and len(set(counts.values())) == 1


def _are_labels(token: Sequence[str], numbers: bool = False) -> bool:
    """Whether parts of names are classes: few words, each of several files."""
    counts = Counter(token)
    if not 2 <= len(counts) <= max(2, len(token) // 2) or min(counts.values()) < 2:
        return False
    return numbers or (all(re.search(r"[^\W\d_]", text) for text in counts) and not _are_numbered(list(counts)))


def _are_numbered(texts: Sequence[str]) -> bool:
    """Whether texts are one word with numbers, as "exp01" and "exp02" are; unless the word means a class."""
    matches = [re.fullmatch(r"([^\W\d_]+)(\d+)", text) for text in texts]
    prefixes = {match[1].casefold() for match in matches if match}
    return all(matches) and len(prefixes) == 1 and not prefixes <= LABEL


def _group_prefix(token: Sequence[str]) -> str | None:
    """What stands before the numbers of persons or machines in parts of names; None if they are none."""
    matches = [re.fullmatch(r"([^\W\d_]+)(\d+)", text) for text in token]
    counts = Counter(token)
    if not all(matches) or not len(counts) >= 2 or len(counts) == len(token):
        return None
    prefixes = {match[1] for match in matches}
    if len(prefixes) != 1:
        return None
    (prefix,) = prefixes
    known = prefix.casefold() in GROUP or prefix.casefold() in ("p", "s", "u", "m", "d") or words_of(prefix)[0] in GROUP
    return prefix if known else None
