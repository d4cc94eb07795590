"""Recipes: their schema, and how they are read."""

from tag2mask.config.base import Schema
from tag2mask.config.data_schema import (
    ClassFoldersData,
    CocoData,
    Data,
    FolderData,
    JsonData,
    MultiHotData,
    VocData,
)
from tag2mask.config.load import find_recipe, load_data, load_recipe, resolved
from tag2mask.config.schema import (
    CamInference,
    Classifier,
    Evaluate,
    Predict,
    Recipe,
    Report,
    Seeding,
    Segment,
    Training,
    Vote,
    Voter,
)

__all__ = [
    "CamInference",
    "ClassFoldersData",
    "Classifier",
    "CocoData",
    "Data",
    "Evaluate",
    "FolderData",
    "JsonData",
    "MultiHotData",
    "Predict",
    "Recipe",
    "Report",
    "Schema",
    "Seeding",
    "Segment",
    "Training",
    "VocData",
    "Vote",
    "Voter",
    "find_recipe",
    "load_data",
    "load_recipe",
    "resolved",
]
