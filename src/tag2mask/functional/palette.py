"""The colours in which label maps are stored and shown."""


def voc_palette(num_colours: int = 256) -> list[int]:
    """Return PASCAL VOC's colour map: red, green, blue of label 0, then of 1, ...

    The rule interleaves bits. Bits 0, 1 and 2 of a label become the highest bit of its
    red, green and blue, bits 3, 4 and 5 the next lower bit of the three, and so on:
    labels with close numbers get colours that are far apart.

    Args:
        num_colours: How many labels to colour, 1..256.

    Returns:
        ``3 * num_colours`` values in 0..255, as Pillow's ``putpalette`` takes them.

    Raises:
        ValueError: If ``num_colours`` is outside 1..256.
    """
    if not 1 <= num_colours <= 256:
        raise ValueError(f"num_colours: expected 1..256, came {num_colours}")
    return [
        sum(((label >> (3 * place + channel)) & 1) << (7 - place) for place in range(3))
        for label in range(num_colours)
        for channel in range(3)
    ]
