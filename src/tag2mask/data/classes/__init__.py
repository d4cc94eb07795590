"""Classes: their names, and what an image-text model is told of them.

Words from images are in ``proposals``, words from a chat model in ``endpoint``.
"""

from tag2mask.data.classes.class_file import (
    format_class_prompts,
    read_class_prompts,
    write_class_prompts,
)
from tag2mask.data.classes.known import read_vocabulary
from tag2mask.data.classes.names import (
    BACKGROUND_NAME,
    nearest,
    read_class_names,
    with_background,
)
from tag2mask.data.classes.prompts import (
    ORIGAMI_TEMPLATE,
    TEMPLATES,
    ClassPrompts,
    NamePreset,
    background_prompts,
    check_template,
    context_prompts,
    describe_classes,
    without_classes,
)

__all__ = [
    "BACKGROUND_NAME",
    "ORIGAMI_TEMPLATE",
    "TEMPLATES",
    "ClassPrompts",
    "NamePreset",
    "background_prompts",
    "check_template",
    "context_prompts",
    "describe_classes",
    "format_class_prompts",
    "nearest",
    "read_class_names",
    "read_class_prompts",
    "read_vocabulary",
    "with_background",
    "without_classes",
    "write_class_prompts",
]
