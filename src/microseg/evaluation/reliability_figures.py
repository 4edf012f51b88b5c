"""The reliability diagram: how often a pixel of some probability is annotated as foreground."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from microseg.common.column_figures import COLUMN, column_style
from microseg.common.figure_style import BLUE, SKY
from microseg.evaluation.calibration import Values, expected_calibration_error, reliability_table


def plot_reliability(counts: Values) -> Figure:
    """Show the share of foreground against the probability, and below how many pixels each class has."""
    rows = np.array(list(reliability_table(counts)))
    with column_style():
        figure = Figure(figsize=(COLUMN, 3.4), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        above.plot([0, 1], [0, 1], color="grey", linestyle=":", label="true probabilities")
        error = expected_calibration_error(counts)
        above.plot(rows[:, 0], rows[:, 1], color=BLUE, marker="o", label=f"expected calibration error {error:.3f}")
        above.set(ylabel="share annotated as foreground", xlim=(0, 1), ylim=(-0.03, 1.03))
        above.legend()
        below.bar(rows[:, 0], rows[:, 2] / rows[:, 2].sum(), width=0.04, color=SKY)
        below.set(xlabel="predicted probability of foreground", ylabel="share of pixels", yscale="log")
        below.yaxis.set_minor_formatter(NullFormatter())
    return figure
