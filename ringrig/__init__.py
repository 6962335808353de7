"""Ringrig: a kernel-patch test suite for io_uring provided buffer rings."""
