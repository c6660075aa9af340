"""Benchmarks: methods, runs, workers, records and reports."""
