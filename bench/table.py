"""The text of the bench: tables, remarks on noise, and verdicts."""

from bench import clock

NOISY = 1.2
"""Times are noisy if their median is more than this times their minimum."""


def heading(columns) -> str:
    """The heading of a table of columns: title, key, format."""
    return "  ".join(f"{title:{width(form)}}" for title, _, form in columns)


def row(columns, result: dict) -> str:
    """A row of a table, from the figures by key."""
    return "  ".join(f"{result[key]:{form}}" if key in result else f"{'':{width(form)}}" for _, key, form in columns)


def width(form: str) -> str:
    """Alignment and width of a format, without its precision."""
    return form.rstrip("f").partition(".")[0]


def noise(result: dict) -> list[str]:
    """Warnings of noise in the times of a case."""
    warnings = []
    for key, subject in (
        ("noise_1", "1 thread"),
        ("noise_2", "2 threads"),
        ("fma_noise", "the FMA loop"),
        ("noise", "startup"),
    ):
        if result.get(key, 1.0) > NOISY:
            excess = 100 * (result[key] - 1)
            warnings.append(f"warning: a noisy machine: {subject}, median {excess:.0f} % above the minimum")
    for n in (1, 2):
        if result.get(f"disturbance_{n}", 0.0) > clock.DISTURBED:
            share = 100 * result[f"disturbance_{n}"]
            warnings.append(f"warning: other processes took up to {share:.0f} % of a core during samples of {n} threads")
    return warnings


def verdict(met: bool) -> str:
    """The word that says whether a bar is met."""
    return "met" if met else "MISSED"
