"""Reports: finished runs in, one self-contained HTML page with figures out. Computes no statistics."""

from upwell.report.writing import ReportFiles, build, serve

__all__ = ["ReportFiles", "build", "serve"]
