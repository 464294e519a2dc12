"""Where the files of a data set lie on this machine, and what to do where they do not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def find_folder(
    given: Path | str | None, variable: str, installed: Iterable[Path], wanted: str, advice: str
) -> Path | None:
    """The folder with the files of a data set, or None if nobody named one and none is installed.

    Args:
        given: as an argument.
        variable: of the environment, that names it otherwise.
        installed: where it is looked for otherwise.
        wanted: a file that lies in it, or a pattern of such files.
        advice: how to get the files, as a sentence.

    Raises:
        FileNotFoundError: the folder that was named does not hold the wanted file.
    """
    named = given or os.environ.get(variable)
    if not named:
        return next((folder for folder in installed if _holds(folder, wanted)), None)
    folder = Path(named)
    if not _holds(folder, wanted):
        source = "" if given else f" (of the variable {variable})"
        raise FileNotFoundError(f"{folder}{source} does not hold {wanted}. {advice}")
    return folder


def require_folder(
    given: Path | str | None, variable: str, installed: Iterable[Path], wanted: str, advice: str
) -> Path:
    """As `find_folder`, of a data set that nothing else brings.

    Raises:
        FileNotFoundError: it is nowhere.
    """
    folder = find_folder(given, variable, installed, wanted, advice)
    if folder is None:
        raise FileNotFoundError(f"{wanted} is not to be found. {advice}")
    return folder


def download(load: Callable[[], Any], what: str, advice: str) -> Any:
    """What Keras loads from the network.

    Raises:
        FileNotFoundError: the network does not give it.
    """
    try:
        return load()
    except Exception as error:  # Keras raises Exception itself where a download fails
        raise FileNotFoundError(f"{what} could not be downloaded ({error}). {advice}") from error


def _holds(folder: Path, wanted: str) -> bool:
    return any(path.is_file() for path in folder.glob(wanted))
