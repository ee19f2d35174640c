"""The language of flags: their table, how a command line is read, and the way from flags to an experiment and back."""
