"""Once per run: pure functions from what the user said to the numbers that the kernels read."""
