"""Benchmarks: ratios side by side in one run, CPU by process, never a timed test."""
