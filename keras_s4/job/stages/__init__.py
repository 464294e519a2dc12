"""The stages of the job, a module each: `compute(job)` reads the results of those before it and writes its own."""

# The models of a run, in the order in which each is made of the one before; firmware is made of the last.
MODELS = ("trained", "reduced", "retrained", "aware")
