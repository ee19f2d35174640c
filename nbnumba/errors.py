"""The one exception that means "what was asked for cannot be done": a sentence for the user, never a traceback."""


class InputError(ValueError):
    """Bad input. The message is one sentence that names the flag, field or file, the value, and what is allowed."""
