"""Cells, rotations and rectangles: functions of numbers and arrays, which know no experiment."""
