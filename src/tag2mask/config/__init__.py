"""Recipes: their schema, and how they are read."""

from tag2mask.config.load import find_recipe, load_recipe, resolved
from tag2mask.config.schema import (
    CamInference,
    Classifier,
    Evaluate,
    FolderData,
    Predict,
    Recipe,
    Report,
    Schema,
    Seeding,
    Segment,
    Training,
    Vote,
    Voter,
)

__all__ = [
    "CamInference",
    "Classifier",
    "Evaluate",
    "FolderData",
    "Predict",
    "Recipe",
    "Report",
    "Schema",
    "Seeding",
    "Segment",
    "Training",
    "Vote",
    "Voter",
    "find_recipe",
    "load_recipe",
    "resolved",
]
