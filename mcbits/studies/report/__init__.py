"""A report shows only what was measured, on the images that it names."""

from mcbits.studies.report.report import write_report

__all__ = ["write_report"]
