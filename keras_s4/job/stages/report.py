"""Everything in one value and on one page, and the device in a browser: device.html, report.html, summary.json."""

from __future__ import annotations

from keras_s4.job import report
from keras_s4.job.device_page import device_page
from keras_s4.job.job import Job
from keras_s4.job.summary import summarize


def compute(job: Job) -> None:
    """Makes the device's page, gathers all figures, and draws the report: device.html, report.html, summary.json."""
    job.report(0, 3, "the device in a browser")
    device, why_not = device_page(job)
    job.folder.write("device.html", device.encode())
    job.report(1, 3, "summary")
    summary = summarize(job)
    job.report(2, 3, "figures")
    spectra = job.folder.read_json("spectrum.json")
    page = report.render(summary, spectra, job.folder.path / "stream.npz", "" if why_not else device, why_not)
    job.folder.write("report.html", page.encode())
    job.folder.write_json("summary.json", summary)
