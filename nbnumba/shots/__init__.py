"""Series of images: jitter, the numbers of a frame, labels of pixels, and workers that write files (specs/shots.md)."""
