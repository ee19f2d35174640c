"""How the bench prints: tables, noise, verdicts."""

from bench import clock

NOISY = 1.2


def heading(columns) -> str:
    """The heading of a table of columns: title, key, format."""
    return "  ".join(f"{title:{width(form)}}" for title, _, form in columns)


def row(columns, found: dict) -> str:
    """A row of a table."""
    return "  ".join(f"{found[key]:{form}}" if key in found else f"{'':{width(form)}}" for _, key, form in columns)


def width(form: str) -> str:
    """Alignment and width of a format, without its precision."""
    return form.rstrip("f").partition(".")[0]


def noise(found: dict) -> list[str]:
    """What there is to say about the noise of a row."""
    said = []
    for key, what in (
        ("noise_1", "1 thread"),
        ("noise_2", "2 threads"),
        ("fma_noise", "the FMA loop"),
        ("noise", "startup"),
    ):
        if found.get(key, 1.0) > NOISY:
            said.append(f"warning: a noisy machine: {what}, median {100 * (found[key] - 1):.0f} % above the minimum")
    for n in (1, 2):
        if found.get(f"disturbance_{n}", 0.0) > clock.DISTURBED:
            share = 100 * found[f"disturbance_{n}"]
            said.append(f"warning: other processes took up to {share:.0f} % of a core during samples of {n} threads")
    return said


def verdict(met: bool) -> str:
    """In a word."""
    return "met" if met else "MISSED"
