"""Many measured images of one crystal as one problem: shoeboxes, and normal equations image by image (specs/series.md)."""
