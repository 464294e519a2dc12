"""What a model is asked: its heads, outputs and targets, and the scores of its answers."""
