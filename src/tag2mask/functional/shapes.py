"""Names of tensor axes and label values shared by the whole package.

Axes: ``b`` batch, ``k`` classes of the data set with background first, ``t`` tags
(classes without background), ``v`` voters, ``h w`` pixels, ``p = h * w``.
"""

BACKGROUND = 0
IGNORE = 255
"""Label of a pixel that neither trains nor scores, as in PASCAL VOC."""
MAX_CLASSES = 255
"""Classes an 8-bit label map can hold, background included."""
