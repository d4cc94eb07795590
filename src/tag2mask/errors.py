"""Every error a user can cause.

Tag2MaskError
├── RecipeError      a recipe does not say what it must
├── DatasetError     images, tags or masks on disk are not what was promised
├── ArtifactError    an artifact is missing, unfinished or altered
├── ModelError       weights or a backbone do not fit what was asked for
└── TrainingError    a network cannot go on: a loss that is no number, full memory

A programming mistake stays a plain ValueError or TypeError.
"""


class Tag2MaskError(Exception):
    """Base of all errors that tag2mask raises for a user to read."""


class RecipeError(Tag2MaskError):
    """A recipe does not say what it must."""


class DatasetError(Tag2MaskError):
    """Images, tags or masks on disk are not what was promised."""


class ArtifactError(Tag2MaskError):
    """An artifact is missing, unfinished or altered."""


class ModelError(Tag2MaskError):
    """Weights or a backbone do not fit what was asked for."""


class TrainingError(Tag2MaskError):
    """A network cannot go on, such as for a loss that is not a number."""
