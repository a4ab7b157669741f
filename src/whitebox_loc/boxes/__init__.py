"""Boxes in named formats: conversion between all of them and four measures of overlap.

A pixel box is half open: ``top=3, bottom=7`` covers rows 3 to 6. Every function
takes NumPy arrays, lists or TensorFlow tensors and answers in kind; TensorFlow
is imported only when one of its tensors arrives.
"""

from whitebox_loc.boxes.formats import FORMATS, convert
from whitebox_loc.boxes.overlap import ciou, diou, giou, iou

__all__ = ["FORMATS", "ciou", "convert", "diou", "giou", "iou"]
