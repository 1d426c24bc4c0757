"""The words of the page and of the command, and numbers as the reader's language writes them."""

from __future__ import annotations

from collections.abc import Mapping

from mirada.messages import Message, current_language, decimal, msg

THIN_SPACE = "\u202f"


def percent(share: float, digits: int = 1) -> str:
    """0.123 as "12.3 %" or "12,3 %"; "< 0.1 %" for what there hardly is, and never "100.0 %" for what is not all."""
    shown, least = 100 * share, 10**-digits
    if 0 < shown < least:
        return f"<{THIN_SPACE}{decimal(least, digits)}{THIN_SPACE}%"
    if share < 1:
        shown = min(shown, 100 - least)
    return f"{decimal(shown, digits)}{THIN_SPACE}%"


def count(value: float) -> str:
    """A whole number with its thousands set apart."""
    return f"{int(value):,}".replace(",", THIN_SPACE if current_language() == "es" else ",")


def size(n_bytes: float) -> str:
    """Bytes as a person says them: "312 kB", "1.4 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= scale:
            value = n_bytes / scale
            return f"{decimal(value, 1 if value < 10 else 0)}{THIN_SPACE}{unit}"
    return f"{int(n_bytes)}{THIN_SPACE}B"


def figure(name: str, value: float) -> str:
    """A quantity of the page by its name, in its unit."""
    if name == "n_bytes":
        return size(value)
    if name == "border":
        return percent(value)
    return decimal(value, 1 if name in ("colourfulness", "entropy") else 2)


QUANTITIES: Mapping[str, tuple[Message, Message]] = {
    "brightness": (msg("Brightness"), msg("Mean lightness: 0 is black, 1 is white.")),
    "contrast": (
        msg("Contrast"),
        msg("How far light and dark lie apart: 0 is a plain surface, 0.5 the most there is."),
    ),
    "sharpness": (msg("Sharpness"), msg("How hard the sharpest edges are: low is blurred, or out of focus.")),
    "entropy": (msg("Entropy"), msg("How much the tones tell, in bits: 0 is one tone, 8 all of them alike.")),
    "colourfulness": (msg("Colourfulness"), msg("0 is grey, 15 slightly, 45 quite, 80 highly colourful.")),
    "border": (msg("Plain border"), msg("Share of the picture that is a plain frame around it.")),
    "aspect": (msg("Aspect ratio"), msg("Width by height: above 1 landscape, below 1 portrait.")),
    "n_bytes": (msg("File size"), msg("On disk.")),
}

CHANNELS: Mapping[str, Message] = {
    "1": msg("black and white"),
    "L": msg("grey"),
    "LA": msg("grey with transparency"),
    "I;16": msg("grey, 16 bits"),
    "P": msg("palette of colours"),
    "RGB": msg("red, green, blue"),
    "RGBA": msg("colour with transparency"),
    "CMYK": msg("four inks"),
    "YCbCr": msg("luma and chroma"),
}

TEXTS: Mapping[str, Message] = {
    "explore": msg("What there is"),
    "photographs": msg("photographs"),
    "photographs_title": msg("Photographs"),
    "classes": msg("Classes"),
    "class": msg("Class"),
    "no_label": msg("(no label)"),
    "all": msg("All"),
    "share": msg("Share"),
    "map": msg("The map"),
    "map_lead": msg(
        "Each dot is a photograph; alike ones lie side by side. A dot of one colour amid another may be labelled "
        "wrongly, a dot far from all may not belong here. Distances between far groups say little."
    ),
    "map_many": msg("Of so many, only a sample has pictures; the rest are dots."),
    "map_label": msg(
        "Map of the photographs. Arrow keys go from photograph to photograph, plus and minus zoom, 0 shows all."
    ),
    "map_hint": msg("Point at a dot to see it. Drag to move, + and − to zoom; with the keyboard, arrow keys."),
    "dots": msg("Dots"),
    "pictures": msg("Pictures"),
    "closer": msg("Closer"),
    "farther": msg("Farther"),
    "whole": msg("Whole map"),
    "show_all": msg("All classes"),
    "no_script": msg("The map is drawn by a small script inside this page, which is switched off here."),
    "no_map": msg("There is no map: it was not asked for, or no photograph has an embedding."),
    "classes_lead": msg("The largest first; in the bars, train, val and test where there is a split."),
    "balance": msg("Balance"),
    "sizes": msg("Sizes"),
    "sizes_lead": msg(
        "Width and height in pixels, on a logarithmic scale. A circle's area is how many photographs have that size."
    ),
    "width": msg("width"),
    "height": msg("height"),
    "commonest": msg("Commonest size"),
    "n_sizes": msg("Sizes in all"),
    "shape": msg("Landscape / square / portrait"),
    "median": msg("Median"),
    "light": msg("Light, sharpness and colour"),
    "light_lead": msg("How all photographs are distributed; below, class by class."),
    "by_class_lead": msg(
        "The line runs from the 5 % to the 95 % quantile, the thick part holds the middle half, the dot is the median."
    ),
    "files": msg("Files"),
    "format": msg("Format"),
    "channels": msg("Channels"),
    "grey": msg("Truly grey"),
    "median_size": msg("Median size"),
    "copies": msg("Copies and leakage"),
    "kind": msg("Kind"),
    "groups": msg("Groups"),
    "extremes": msg("The oddest and the most typical"),
    "extremes_lead": msg(
        "Of each class, the photographs farthest from what the class is like, and those nearest to it. Odd ones may be "
        "mistakes, or just what a model needs most."
    ),
    "oddest": msg("Oddest"),
    "plainest": msg("Most typical"),
    "more_classes": msg("The other classes"),
    "no_picture": msg("no picture"),
    "rejected": msg("Files left out"),
    "rejected_lead": msg("These could not be read; they are not counted above."),
    "notes": msg("Notes"),
    "findings": msg("What stands out"),
    "split": msg("Split"),
    "made_by": msg("Made by Mirada. This page is one file, loads nothing and sends nothing."),
    "measured_none": msg("Pixels were not measured."),
}


def texts() -> dict[str, str]:
    """All fixed words in the language in force."""
    return {name: str(message) for name, message in TEXTS.items()}
