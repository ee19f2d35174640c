"""The text of the bench: tables, remarks on noise, and verdicts."""

from typing import NamedTuple

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


class Bar(NamedTuple):
    """What was measured, its figure, and what is wanted: at least, or at most, the bar, and if given better still, the goal."""

    subject: str
    figure: float
    bar: float
    at_least: bool = False
    goal: float | None = None

    @property
    def met(self) -> bool:
        """Whether the figure is as good as the bar; NaN is not."""
        return self.figure >= self.bar if self.at_least else self.figure <= self.bar

    @property
    def wanted(self) -> str:
        """The bar in words."""
        goal = "" if self.goal is None else f" (goal {self.goal:g})"
        return f"at {'least' if self.at_least else 'most'} {self.bar:g}{goal}"

    @property
    def verdict(self) -> str:
        """The word that says whether the bar is met."""
        return "met" if self.met else "MISSED"

    def __str__(self) -> str:
        return f"{self.subject}: {self.figure:.3g}, wanted {self.wanted}: {self.verdict}"


def summary(bars: list[Bar], side: int | None) -> list[str]:
    """A table of all bars of a run on whole scenes, or on that many pixels along each edge."""
    columns = (
        ("criterion", "subject", "<70"),
        ("measured", "figure", ">8.2f"),
        ("wanted", "wanted", "<22"),
        ("", "verdict", "<6"),
    )
    lines = [row(columns, bar._asdict() | {"wanted": bar.wanted, "verdict": bar.verdict}) for bar in bars]
    lines.append(f"{sum(bar.met for bar in bars)} of {len(bars)} are met")
    if side is not None:
        lines.append(f"scenes were cut to {side} x {side} pixels; the criteria are those of whole scenes")
    return [heading(columns), *lines]
