"""The integer program: operations, tensors and their exact arithmetic. The contract of the three readers."""
