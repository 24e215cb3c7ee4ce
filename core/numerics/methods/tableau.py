"""Explicit Runge-Kutta methods as tables of coefficients.

One step from (t, y) to (t + h, y'), with s stages:

    k_i = f(t + c_i h, y + h sum_{j<i} a_ij k_j),     y' = y + h sum_i b_i k_i

An embedded method estimates the step's error as e = h sum_i e_i k_i. Dense output between the ends of the step is

    y(t + theta h) = y + h sum_i b_i(theta) k_i,     b_i(theta) = sum_d P_id theta^d,     0 <= theta <= 1.

Both may use one stage more, k_{s+1} = f(t + h, y'), which is the first of the next step. The orders a table declares
are measured in ``tests/convergence``.
"""

from dataclasses import dataclass

from integrand.core.numerics.arithmetic import Row


@dataclass(frozen=True)
class Tableau:
    """Coefficients of an explicit Runge-Kutta method, with what is claimed of it.

    Attributes:
        name: the method's name in ``solve_ode(method=...)``.
        a: rows of stage weights, row i holding the i weights of the stages before it.
        b: weights of the step.
        c: abscissae of the stages, as fractions of the step.
        order: order of global convergence on smooth problems.
        source: author, year and place.
        error: the weights e_i of the error estimate, one for each stage and one for k_{s+1}; empty without an estimate.
        error_order: order p of the estimate, which is O(h^{p+1}).
        error_damping: weights of a second estimate of lower order; see ``ErrorNorm``.
        dense: rows P_i of the dense output, for each stage, k_{s+1} and the extra stages: the coefficients of theta,
            theta^2, ...; empty without dense output.
        extra_a: rows of stages that dense output alone needs, after k_{s+1}.
        extra_c: their abscissae.
    """

    name: str
    a: tuple[Row, ...]
    b: Row
    c: Row
    order: int
    source: str
    error: Row = ()
    error_order: int | None = None
    error_damping: Row = ()
    dense: tuple[Row, ...] = ()
    extra_a: tuple[Row, ...] = ()
    extra_c: Row = ()

    @property
    def stages(self) -> int:
        """Field evaluations in one step."""
        return len(self.b)

    @property
    def adaptive(self) -> bool:
        """Whether the method estimates its error, and so can choose its steps."""
        return bool(self.error)


EULER = Tableau("euler", ((),), (1.0,), (0.0,), 1, "Euler (1768)")
MIDPOINT = Tableau("midpoint", ((), (1 / 2,)), (0.0, 1.0), (0.0, 1 / 2), 2, "Runge (1895)")
HEUN = Tableau(
    "heun",
    ((), (1.0,)),
    (1 / 2, 1 / 2),
    (0.0, 1.0),
    2,
    "Heun (1900); trapezoidal corrector",
)
RALSTON = Tableau("ralston", ((), (2 / 3,)), (1 / 4, 3 / 4), (0.0, 2 / 3), 2, "Ralston (1962), least error bound")
RK4 = Tableau(
    "rk4",
    ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    (1 / 6, 1 / 3, 1 / 3, 1 / 6),
    (0.0, 1 / 2, 1 / 2, 1.0),
    4,
    "Kutta (1901), the classical method",
)
BOSH3 = Tableau(
    "bosh3",
    ((), (1 / 2,), (0.0, 3 / 4)),
    (2 / 9, 1 / 3, 4 / 9),
    (0.0, 1 / 2, 3 / 4),
    3,
    "Bogacki and Shampine (1989), A 3(2) pair; dense output: the cubic Hermite polynomial of the step's ends",
    error=(2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),
    error_order=2,
    # With b the weights of y', theta(1-theta)^2 k_1 + theta^2(3-2theta) sum b_i k_i + theta^2(theta-1) k_4.
    dense=(
        (1.0, -2 + 3 * 2 / 9, 1 - 2 * 2 / 9),
        (0.0, 3 * 1 / 3, -2 * 1 / 3),
        (0.0, 3 * 4 / 9, -2 * 4 / 9),
        (0.0, -1.0, 1.0),
    ),
)
DOPRI5 = Tableau(
    "dopri5",
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0),
    5,
    "Dormand and Prince (1980), A family of embedded Runge-Kutta formulae; dense output of Shampine (1986), Some "
    "practical Runge-Kutta formulas, with the least error of its kind",
    error=(71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
    error_order=4,
    dense=(
        (1.0, -8048581381 / 2820520608, 8663915743 / 2820520608, -12715105075 / 11282082432),
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 131558114200 / 32700410799, -68118460800 / 10900136933, 87487479700 / 32700410799),
        (0.0, -1754552775 / 470086768, 14199869525 / 1410260304, -10690763975 / 1880347072),
        (0.0, 127303824393 / 49829197408, -318862633887 / 49829197408, 701980252875 / 199316789632),
        (0.0, -282668133 / 205662961, 2019193451 / 616988883, -1453857185 / 822651844),
        (0.0, 40617522 / 29380423, -110615467 / 29380423, 69997945 / 29380423),
    ),
)

TSIT5 = Tableau(
    "tsit5",
    (
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
    ),
    (
        0.09646076681806523,
        0.01,
        0.4798896504144996,
        1.379008574103742,
        -3.290069515436081,
        2.324710524099774,
    ),
    (0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0),
    5,
    "Tsitouras (2011), Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying assumption",
    error=(
        0.09646076681806523 - 0.09468075576583945,
        0.01 - 0.009183565540343254,
        0.4798896504144996 - 0.4877705284247616,
        1.379008574103742 - 1.234297566930479,
        -3.290069515436081 + 2.7077123499835256,
        2.324710524099774 - 1.866628418170587,
        -1 / 66,
    ),
    error_order=4,
    dense=(
        (1.0, -2.763706197274826, 2.9132554618219126, -1.0530884977290216),
        (0.0, 0.13169999999999998, -0.2234, 0.1017),
        (0.0, 3.9302962368947516, -5.941033872131505, 2.490627285651253),
        (0.0, -12.411077166933676, 30.33818863028232, -16.548102889244902),
        (0.0, 37.50931341651104, -88.1789048947664, 47.37952196281928),
        (0.0, -27.896526289197286, 65.09189467479366, -34.87065786149661),
        (0.0, 1.5, -4.0, 2.5),
    ),
)
