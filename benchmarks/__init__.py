"""Measurements, not tests: ``make bench`` prints tables and writes docs/benchmarks.md.

Machines differ and are noisy, so what counts are ratios within one run, as medians.
"""
