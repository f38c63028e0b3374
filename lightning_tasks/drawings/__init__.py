"""What a drawing is: strokes of a pen, their files, steps for sequence models, and images. Knows no task."""

from lightning_tasks.drawings.steps import Drawing, Pen, to_drawing, to_steps

__all__ = ["Drawing", "Pen", "to_drawing", "to_steps"]
