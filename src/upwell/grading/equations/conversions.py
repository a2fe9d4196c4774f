"""Units that convert into one another, and words that scale a number, by exact factors."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from upwell.grading.units import SCALES


class Unit(NamedTuple):
    """What a word after a number stands for."""

    dimension: str
    """`length`, `time`, ...; units of one dimension convert. Empty for words that only scale."""
    system: str
    """Conversion inside a system is exact; between two, written factors are rounded."""
    factor: Fraction
    """Size in the base unit of the dimension."""


_TABLE = {
    ("length", "metric"): "mm millimeter millimetre=1 cm centimeter centimetre=10 dm=100 m meter metre=1000 "
    "km kilometer kilometre=1000000",
    ("length", "imperial"): "in inch inches=25.4 ft foot feet=304.8 yd yard=914.4 mi mile=1609344",
    ("mass", "metric"): "mg milligram=1 g gm gram=1000 kg kilo kilogram=1000000 tonne=1000000000",
    ("mass", "imperial"): "oz ounce=28349.523125 lb pound=453592.37 ton=907184740",
    ("volume", "metric"): "ml milliliter millilitre cc=1 cl=10 dl=100 l liter litre=1000",
    ("volume", "kitchen"): "tsp teaspoon=1 tbsp tablespoon=3 cup=48 pint=96 quart=192 gallon gal=768",
    ("time", "clock"): "ms millisecond=1 s sec second=1000 min minute=60000 h hr hour=3600000 day=86400000 "
    "week=604800000 fortnight=1209600000",
    (
        "time",
        "calendar",
    ): "month=2629800000 year yr=31557600000 decade=315576000000 century centuries=3155760000000",
    ("money", "dollar"): "cent ¢ penny pennies=1/100 nickel=1/20 dime=1/10 dollar buck=1",
    ("angle", "turn"): "degree deg=1 turn=360",
    (
        "data",
        "binary",
    ): "kb kilobyte=1000 mb megabyte=1000000 gb gigabyte=1000000000 tb terabyte=1000000000000",
    ("", ""): "pair=2 dozen=12 score=20 gross=144",
}


def _units() -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    for (dimension, system), row in _TABLE.items():
        names: list[str] = []
        for word in row.split():
            name, _, factor = word.partition("=")
            names.append(name)
            if factor:
                for each in names:
                    found[each] = Unit(dimension, system, Fraction(factor))
                names = []
    for name, factor_ in SCALES.items():
        found[name] = Unit("", "", Fraction(factor_))
    return found


_UNITS = _units()


def unit(word: str) -> Unit | None:
    """What a word or its plural stands for, or None."""
    name = word.lower()
    return _UNITS.get(name) or (_UNITS.get(name[:-1]) if name.endswith("s") and len(name) > 3 else None)
