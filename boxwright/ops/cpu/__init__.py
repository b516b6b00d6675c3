"""Numba kernels for CPUs, to the definitions in `ops/reference`; the same file names."""
