"""The drivers of the derivative: loops over pixels and launches. They hold no physics."""
