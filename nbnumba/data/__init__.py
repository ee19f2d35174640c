"""Data that ship with nbnumba: structure factors of PDB entry 1ORC to 1.8 A (README.txt)."""
