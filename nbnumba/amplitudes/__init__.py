"""Structure-factor amplitudes of all of P1: from atoms (F9c), and from the reflections of files (F9d)."""
