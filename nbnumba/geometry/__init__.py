"""Cells and rotations: functions of numbers and arrays, which know no experiment."""
