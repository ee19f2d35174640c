"""From a loss with gradient and matrix to scipy.optimize: residuals that represent a loss, and three methods (R4)."""

import numpy as np
import pytest

from adjoint.refinement.frame_loss import Evaluation
from adjoint.refinement.solve import METHODS, _needed_constant, _NoSquare, as_squares, minimize
from nbnumba.errors import InputError


def drawn(seed, n, rank):
    """A gradient and a matrix of some rank that fit together, for numbers of very different sizes."""
    random = np.random.default_rng(seed)
    columns = random.normal(size=(50, rank)) @ random.normal(size=(rank, n)) * 10.0 ** random.uniform(-6, 6, n)
    r = random.normal(size=50)
    return Evaluation(float(r @ r) / 2, columns.T @ r, columns.T @ columns)


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (4, 4), (9, 9), (6, 3), (5, 1)])
def test_residuals_are_of_the_loss(n, rank):
    """f.f / 2 is the loss plus the constant, J^T f the gradient and J^T J the matrix, also if it is singular."""
    for seed in range(5):
        found = drawn(seed, n, rank)
        for constant in (0.0, 3.0):
            f, jacobian = as_squares(found, constant)
            assert f.shape == (n + 1,) and jacobian.shape == (n + 1, n)
            assert f @ f / 2 == pytest.approx(found.value + constant, rel=1e-12)
            size = np.sqrt(np.diag(found.normal))
            np.testing.assert_allclose(jacobian.T @ f / size, found.gradient / size, rtol=0, atol=1e-6)
            np.testing.assert_allclose(
                jacobian.T @ jacobian / np.outer(size, size), found.normal / np.outer(size, size), rtol=0, atol=1e-12
            )


def test_a_number_that_does_nothing_has_no_residual():
    """A row and a column of 0 stay 0 beside others."""
    whole = drawn(1, 3, 3)
    grown = Evaluation(whole.value, np.append(whole.gradient, 0.0), np.pad(whole.normal, (0, 1)))
    f, jacobian = as_squares(grown, 0.0)
    assert (jacobian[:, 3] == 0.0).all() and f @ f / 2 == pytest.approx(whole.value, rel=1e-12)


def test_a_constant_that_is_too_small_is_told():
    """A loss below half of the squares that its gradient requires is no sum of squares until the constant is raised."""
    found = Evaluation(1.0, np.array([4.0]), np.array([[2.0]]))
    with pytest.raises(_NoSquare):
        as_squares(found, 2.9)
    f, jacobian = as_squares(found, 3.1)
    assert f @ f / 2 == pytest.approx(4.1, rel=1e-12) and float((jacobian.T @ f)[0]) == pytest.approx(4.0, rel=1e-12)
    assert _needed_constant(found) >= 3.0 and as_squares(found, _needed_constant(found))
    assert _needed_constant(Evaluation(5.0, np.array([4.0]), np.array([[2.0]]))) == 0.0


class Line:
    """Poisson's deviance of counts along a curve a + b t + c t^2, less `shift`: a loss that need not be a sum of squares."""

    def __init__(self, shift=0.0):
        random = np.random.default_rng(7)
        t = np.linspace(-1.0, 1.0, 200)
        self.columns = np.stack([np.ones_like(t), t, t * t], axis=1)
        self.truth = np.array([20.0, 5.0, -8.0])
        self.data, self.shift, self.asked = random.poisson(self.columns @ self.truth).astype(float), shift, []

    def __call__(self, x, with_normal=True):
        self.asked.append(x.copy())
        mean = self.columns @ x
        if mean.min() <= 0.0:
            raise InputError("mean: it is below 0; allowed: above")
        value = float(np.sum(mean - self.data + self.data * np.log(np.maximum(self.data, 1e-9) / mean))) - self.shift
        gradient = self.columns.T @ (1.0 - self.data / mean)
        return Evaluation(value, gradient, (self.columns.T / mean) @ self.columns if with_normal else None)


EVERYWHERE = np.full(3, -np.inf), np.full(3, np.inf)
SETTINGS = {"bounds": EVERYWHERE, "unit": np.ones(3), "tolerance": 1e-9, "most": 200}
START = np.array([60.0, -20.0, 30.0])


def searched(line, method, start=START, bounds=EVERYWHERE, tolerance=1e-9, most=200):
    """The solution, and the steps that were reported."""
    told = []
    unit = np.sqrt(np.diag(np.linalg.inv(line(start).normal)))
    line.asked.clear()
    settings = {"bounds": bounds, "unit": unit, "method": method, "tolerance": tolerance, "most": most}
    done = minimize(line, start, accepted=lambda *step: told.append(step), **settings)
    return done, told


def best_of(line, bounds=EVERYWHERE):
    """The minimum by Newton's method, with the numbers at bounds fixed."""
    x, at_bound = line.truth.copy(), np.zeros(3, dtype=bool)
    for _ in range(100):
        at = line(x)
        free = ~at_bound
        x[free] -= np.linalg.solve(at.normal[np.ix_(free, free)], at.gradient[free])
        out = (x <= bounds[0]) | (x >= bounds[1])
        x, at_bound = np.clip(x, *bounds), at_bound | out
    return x, at_bound


@pytest.mark.parametrize("shift", [0.0, 1e4])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_minimum(method, shift):
    """It is the one of Newton's method, also for a loss far below 0 there, and from a distant start."""
    line = Line(shift)
    done, told = searched(line, method)
    best, _ = best_of(Line())
    sure = np.sqrt(np.diag(np.linalg.inv(Line()(best).normal)))
    assert done.converged
    assert (np.abs(done.x - best) < 1e-3 * sure).all()
    assert done.evaluations == len(line.asked) and "converged" in done.reason
    assert told[0][1] == pytest.approx(Line(shift)(START).value, rel=1e-12)
    np.testing.assert_allclose(told[0][2], START, rtol=1e-12)
    counts = [count for count, _, _ in told]
    assert counts == sorted(counts) and counts[-1] <= done.evaluations


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_to_bounds(method):
    """One bound is active at the minimum and another is not.

    Nothing is evaluated beyond them, and the other numbers are optimal.
    """
    line = Line()
    bounds = np.array([15.0, 6.0, -np.inf]), np.array([100.0, 30.0, 31.0])
    done, _ = searched(line, method, np.array([60.0, 20.0, 10.0]), bounds)
    best, at_bound = best_of(Line(), bounds)
    assert list(at_bound) == [False, True, False]
    assert done.converged
    sure = np.sqrt(np.diag(np.linalg.inv(Line()(best).normal)))
    assert (np.abs(done.x - best) < 1e-2 * sure).all()
    if method != "trust-constr":
        assert min(x[1] for x in line.asked) >= 6.0 - 1e-9 and max(x[2] for x in line.asked) <= 31.0 + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_a_start_at_a_bound_moves(method):
    """A number that starts at a bound can leave it."""
    bounds = np.array([60.0 - 50.0, -20.0, -50.0]), np.array([60.0, 50.0, 30.0])
    done, _ = searched(Line(), method, START, bounds)
    best, _ = best_of(Line())
    sure = np.sqrt(np.diag(np.linalg.inv(Line()(best).normal)))
    assert (np.abs(done.x - best) < 1e-2 * sure).all()


@pytest.mark.parametrize("method", METHODS)
def test_where_there_is_no_image_it_turns_back(method):
    """An InputError during the search counts as an infinite loss; one at the start is raised."""
    line = Line()
    start = np.array([200.0, 0.0, 195.0])
    done, _ = searched(line, method, start)
    best, _ = best_of(Line())
    sure = np.sqrt(np.diag(np.linalg.inv(Line()(best).normal)))
    assert (np.abs(done.x - best) < 1e-2 * sure).all()
    with pytest.raises(InputError, match="mean"):
        minimize(line, -start, method=method, accepted=lambda *_: None, **SETTINGS)


@pytest.mark.parametrize("method", METHODS)
def test_so_many_evaluations_and_no_more(method):
    """A search that is cut off says that it did not converge, and returns the best numbers so far."""
    line = Line()
    done, _ = searched(line, method, most=3)
    assert not done.converged and f"within {done.evaluations} evaluations" in done.reason
    assert len(line.asked) <= 5
    assert Line()(done.x).value <= min(Line()(x).value for x in line.asked if (line.columns @ x).min() > 0.0) * (1 + 1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_start_at_the_minimum_stays(method):
    """The search gains nothing there, and no number moves by more than a hundredth of its uncertainty."""
    best, _ = best_of(Line())
    done, told = searched(Line(), method, best)
    sure = np.sqrt(np.diag(np.linalg.inv(Line()(best).normal)))
    assert done.converged and told
    assert (np.abs(done.x - best) < 1e-2 * sure).all()


def test_tolerance_is_what_the_loss_gains():
    """A search ends about that far above the least loss. A smaller tolerance gets closer with more evaluations."""
    least = Line()(best_of(Line())[0]).value
    above, count = [], []
    for tolerance in (1e2, 1e-3, 1e-9):
        done, _ = searched(Line(), "least_squares", tolerance=tolerance)
        above.append(Line()(done.x).value - least)
        count.append(done.evaluations)
    assert above[1] < 1e-3 and above[2] < 1e-9 * 1e3 and above[0] >= above[1] >= above[2] - 1e-9
    assert count[0] < count[1] <= count[2]


@pytest.mark.parametrize("method", METHODS)
def test_an_exception_of_the_caller_is_raised(method):
    """An exception of the function that receives the steps ends the search at once."""

    def stop(*_):
        raise KeyboardInterrupt

    line = Line()
    with pytest.raises(KeyboardInterrupt):
        minimize(line, START, method=method, accepted=stop, **SETTINGS)
    assert len(line.asked) == 1
