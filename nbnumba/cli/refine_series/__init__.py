"""nbnumba refine --expt: measured images of one crystal, from the files that DIALS leaves."""
