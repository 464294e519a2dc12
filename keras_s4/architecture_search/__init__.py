"""Searches over kinds and sizes of networks, under budgets that are known to be kept before anything is trained."""

from keras_s4.architecture_search.result import ArchitectureResult
from keras_s4.architecture_search.searching import search_architectures
from keras_s4.architecture_search.trial import ArchitectureTrial

__all__ = ["ArchitectureResult", "ArchitectureTrial", "search_architectures"]
