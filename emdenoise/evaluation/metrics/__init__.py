"""Scores of images and masks against their truth."""
