"""Reading selections that ImageJ saves, one file for each micrograph: a ROI set (.zip), or a single one (.roi).

ImageJ's coordinates begin at the outer corner of the top left pixel, and a pixel belongs to a selection if its
center lies inside: https://imagej.net/ij/developer/source/ij/process/PolygonFiller.java.html. Selections have no
class, and the sets know no size.
"""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from microseg.common.errors import InputError
from microseg.sources.outlines import Outline, OutlineFile, Shape, ellipse

SUFFIXES = frozenset({".zip", ".roi"})


def read_rois(path: Path, _: Any = None) -> OutlineFile:
    """Return the outlines of a ROI set or a selection; InputError if it is damaged."""
    from roifile import roiread

    damages = (ValueError, TypeError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error, EOFError)
    try:
        found = roiread(path)
        rois = found if isinstance(found, list) else [found]
        outlines = [_outlines(roi) for roi in rois]
    except damages as error:
        raise InputError(f"{path}: not a ROI set of ImageJ ({error}); save the selections again") from None
    shapes = [
        Shape(f"{path.as_posix()}, {roi.name or number}", "", None, one, has_rings=True)
        for number, (roi, one) in enumerate(zip(rois, outlines, strict=True))
    ]
    return OutlineFile(path, None, None, shapes)


def _outlines(roi: Any) -> tuple[Outline, ...]:
    """Return the outlines of a selection; none of points, lines and angles."""
    from roifile import ROI_TYPE

    if roi.roitype == ROI_TYPE.OVAL:
        center = np.array([roi.left + roi.right, roi.top + roi.bottom]) / 2
        return (ellipse(center, np.array([roi.right - roi.left, roi.bottom - roi.top]) / 2),)
    if roi.roitype in (ROI_TYPE.RECT, ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        return tuple(np.asarray(one, np.float64) for one in roi.coordinates(multi=True))
    return ()
