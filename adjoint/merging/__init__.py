"""Structure factors from many shots: unique reflections, one shot's block of the equations, their solution, and statistics."""
