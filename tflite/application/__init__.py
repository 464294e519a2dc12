"""The folder that a firmware project starts from: a model, the facts about it, and applications that run it."""
