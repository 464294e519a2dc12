"""The main job, from recordings to firmware: stages, run folder and report."""
