"""nbnumba merge: structure factors from many shots, from lists of experiments and the images that they name."""
