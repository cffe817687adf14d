"""A report shows only what was measured: each picture is drawn from numbers of the images it names, and what is missing is named."""

from mcbits.report.report import write_report

__all__ = ["write_report"]
