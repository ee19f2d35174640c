"""Many measured images of one crystal as one problem: shoeboxes, their local numbers, and normal equations image by image (S1)."""
