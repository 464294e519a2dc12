"""Everything in one value and on one page: report.html, summary.json."""

from __future__ import annotations

from keras_s4.job import report
from keras_s4.job.job import Job
from keras_s4.job.summary import summarize


def compute(job: Job) -> None:
    """Gathers all figures, and draws the page: report.html, summary.json."""
    job.report(0, 2, "summary")
    summary = summarize(job)
    job.report(1, 2, "figures")
    page = report.render(summary, job.folder.read_json("spectrum.json"), job.folder.path / "stream.npz")
    job.folder.write("report.html", page.encode())
    job.folder.write_json("summary.json", summary)
