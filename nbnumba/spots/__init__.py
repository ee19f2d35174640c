"""Where reflections are, and how bright: from the scene of an experiment to its spots, without an image (F14)."""
