"""Whole jobs: training, evaluation, prediction."""
