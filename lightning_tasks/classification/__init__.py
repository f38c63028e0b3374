"""Classifiers of images, trained anew or fine-tuned."""

from lightning_tasks.classification.task import ClassificationTask

__all__ = ["ClassificationTask"]
