"""Pictures of an evaluation: the colours of the error map, and which micrographs are shown."""

import numpy as np

from microseg.evaluation.figures import Example, example_figures, graph_iou, iou_figures
from microseg.evaluation.scores import MeasuredImage, Scores


def test_error_map_colours_by_hand():
    truth = np.array([[False, True], [True, False]])
    prediction = np.array([[False, True], [False, True]])
    colours = graph_iou(truth, prediction)
    assert colours.dtype == np.uint8
    # true negative black, true positive white; false negative magenta, false positive cyan
    assert colours.tolist() == [[[0, 0, 0], [255, 255, 255]], [[255, 0, 255], [0, 255, 255]]]


def test_best_worst_and_most_different_micrographs_are_the_ones_shown():
    hits = {"a": (9, 5), "b": (1, 2), "c": (5, 5), "d": (0, 9)}
    measured = [
        MeasuredImage(name, 0.1, 5.0, {"sigmoid": Scores(s, 1, 9 - s), "morphology": Scores(m, 1, 9 - m)})
        for name, (s, m) in hits.items()
    ]
    shown = []

    def load(name):
        shown.append(name)
        picture = np.zeros((8, 8), np.uint8)
        return Example(name, picture, picture > 0, {"sigmoid": picture > 0, "morphology": picture > 0})

    figures = dict(example_figures(measured, 2, load))
    assert shown == [*("a", "c"), *("d", "b"), *("d", "a"), *("b", "c"), "d"]
    assert set(figures) == {
        *("best_sigmoid.png", "worst_sigmoid.png", "best_morphology.png"),
        *("worst_morphology.png", "methods_side_by_side.png"),
    }
    iou = dict(iou_figures(measured))
    assert list(iou) == ["iou_distribution.png", "iou_against_foreground.png", "iou_against_border_distance.png"]
    distribution = iou["iou_distribution.png"].axes[0]
    assert sum(patch.get_height() for patch in distribution.patches) == 8
    assert distribution.get_xlabel()
    assert distribution.get_ylabel()


def test_fewer_micrographs_than_examples():
    measured = [MeasuredImage("a", 0.1, 5.0, {"sigmoid": Scores(1, 1, 1)})]
    picture = np.zeros((8, 8), np.uint8)
    figures = example_figures(
        measured, 4, lambda name: Example(name, picture, picture > 0, {"sigmoid": picture > 0})
    )
    assert len(list(figures)) == 3
