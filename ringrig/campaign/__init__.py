"""Many kernels, or one kernel changed many times: what a run of the suites says of more than itself."""
