"""Compiled loops behind `functional`: plain arrays in and out."""
