"""Reports: finished runs in, one self-contained HTML page with figures out. Computes no statistics."""

from upwell.report.writing import ReportFiles, build

__all__ = ["ReportFiles", "build"]
