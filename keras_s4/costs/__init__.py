"""What a program costs on a microcontroller: instructions, cycles, time, load and energy, on named boards."""

from keras_s4.costs.boards import Board, boards
from keras_s4.costs.estimate import Estimate, check_request, estimate, estimate_boards, estimates_table

__all__ = ["Board", "Estimate", "boards", "check_request", "estimate", "estimate_boards", "estimates_table"]
