"""Optional packages, by the extra of pyproject.toml that installs them: what needs one says so before work is lost."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator

# What is imported, by extra; `tests/test_extras.py` holds the list against pyproject.toml.
EXTRAS = {
    "search": ("keras_tuner", "tensorboard"),
    "qat": ("tensorflow_model_optimization", "tf_keras"),
    "report": ("matplotlib",),
    "sound": ("soundfile",),
    "data": ("pandas", "pyarrow", "seglearn"),
    "web": ("ziglang",),
    "orbax": ("tensorstore",),
    "jax": ("jax",),
}


def missing_packages(extra: str) -> tuple[str, ...]:
    """The packages of an extra that are not installed, without importing the others."""
    return tuple(name for name in EXTRAS[extra] if not _is_installed(name))


def advice(extra: str) -> str:
    """How to install an extra, as it is typed."""
    return f"pip install 'keras-s4[{extra}]'"


def require(extra: str, what: str, *packages: str) -> None:
    """Refuses work that needs packages which are not installed, before it begins.

    Args:
        extra: a key of `EXTRAS`.
        what: needs them, as the subject of a sentence in the plural: "Searches over ranks".
        packages: that are needed; by default all of the extra.

    Raises:
        ModuleNotFoundError: one is missing; the message says how to install it.
    """
    missing = [name for name in packages or EXTRAS[extra] if not _is_installed(name)]
    if missing:
        raise ModuleNotFoundError(_explain(extra, what, missing), name=missing[0])


@contextlib.contextmanager
def needed_for(what: str, extra: str) -> Iterator[None]:
    """Around the import of an optional package: says which extra brings it, where it is missing.

    Args:
        what: needs it, as the subject of a sentence in the plural.
        extra: a key of `EXTRAS`.

    Raises:
        ImportError: it, or what it imports in turn, cannot be imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or str(error)).partition(".")[0]
        raise ModuleNotFoundError(_explain(extra, what, [missing]), name=error.name) from error
    except ImportError as error:
        packages = " and ".join(EXTRAS[extra])
        raise ImportError(f"{what} need {packages}, whose import fails: {error}. Reinstall: {advice(extra)}") from error


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ModuleNotFoundError, ValueError):  # it is hidden, or half imported
        return False


def _explain(extra: str, what: str, missing: list[str]) -> str:
    verb = "is" if len(missing) == 1 else "are"
    return f"{what} need {' and '.join(missing)}, which {verb} not installed: {advice(extra)}"
