"""Studies are what a researcher runs: tables, reports and comparisons that show only what was measured."""
