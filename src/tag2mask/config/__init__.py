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
from tag2mask.config.image_text import (
    ClipModel,
    ConseModel,
    Gate,
    ImageText,
    OpenClipModel,
    Prompts,
    TinyModel,
)
from tag2mask.config.load import find_recipe, load_data, load_recipe, resolved
from tag2mask.config.schema import Evaluate, Predict, Recipe, Report, Segment, Vote
from tag2mask.config.training import Schedule, Training
from tag2mask.config.voters import (
    CaCl,
    CaClWeights,
    CamInference,
    Classifier,
    Clims,
    ClimsWeights,
    Saliency,
    Seeding,
    TagTraining,
    Voter,
)

__all__ = [
    "CaCl",
    "CaClWeights",
    "CamInference",
    "ClassFoldersData",
    "Classifier",
    "Clims",
    "ClimsWeights",
    "ClipModel",
    "CocoData",
    "ConseModel",
    "Data",
    "Evaluate",
    "FolderData",
    "Gate",
    "ImageText",
    "JsonData",
    "MultiHotData",
    "OpenClipModel",
    "Predict",
    "Prompts",
    "Recipe",
    "Report",
    "Saliency",
    "Schedule",
    "Schema",
    "Seeding",
    "Segment",
    "TagTraining",
    "TinyModel",
    "Training",
    "VocData",
    "Vote",
    "Voter",
    "find_recipe",
    "load_data",
    "load_recipe",
    "resolved",
]
