"""File formats: one module per format, each turning bytes into arrays or arrays into bytes."""
