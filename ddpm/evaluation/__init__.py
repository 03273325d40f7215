"""Classifiers, judges of drawn images, edit tasks, features and Frechet distance."""
