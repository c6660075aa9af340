"""Run benchmarks: methods, runs, workers, records, results and reports."""
