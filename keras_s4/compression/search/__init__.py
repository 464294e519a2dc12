"""Searches over the ranks of a trained model's parts with keras-tuner, under budgets."""

from keras_s4.compression.search.front import search
from keras_s4.compression.search.hypermodel import RankHyperModel
from keras_s4.compression.search.result import SearchResult
from keras_s4.compression.search.trials import Trial

__all__ = ["RankHyperModel", "SearchResult", "Trial", "search"]
