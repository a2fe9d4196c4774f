"""Words that may stand around a number without changing it, and words that scale it."""

from __future__ import annotations

_LENGTH = """mm cm dm m km in inch inches ft foot feet yd yard yards mi mile miles nm meter meters metre
metres centimeter centimeters centimetre centimetres kilometer kilometers kilometre kilometres
millimeter millimeters"""
_AREA = "acre acres hectare hectares sq square cubic"
_MASS = "mg g gm kg lb lbs oz ounce ounces pound pounds gram grams kilogram kilograms ton tons tonne tonnes"
_VOLUME = """ml l liter liters litre litres milliliter milliliters gal gallon gallons quart quarts pint pints
cup cups cc tablespoon tablespoons teaspoon teaspoons tbsp tsp bushel bushels"""
_TIME = """s sec secs second seconds min mins minute minutes h hr hrs hour hours day days week weeks month
months year years yr yrs decade decades century centuries ms am pm"""
_MONEY = """dollar dollars cent cents usd eur euro euros rupee rupees rs yuan peso pesos yen inr gbp"""
_ANGLE = "degree degrees deg radian radians rad celsius fahrenheit kelvin"
_RATE = "mph kph kmh bps mb gb kb tb hz khz mhz rpm wpm fps per percent"
_PHYSICS = "n j w v a k kw kwh joule joules watt watts newton newtons volt volts amp amps ohm pa kpa cal kcal"
_COUNT = """unit units time times person people item items piece pieces way ways point points total each more
less st nd rd th"""

UNITS = frozenset(
    f"{_LENGTH} {_AREA} {_MASS} {_VOLUME} {_TIME} {_MONEY} {_ANGLE} {_RATE} {_PHYSICS} {_COUNT}".split()
)
"""Unit words and endings of ordinals, in lower case."""

LETTER_UNITS = frozenset("mgshLlNJWVKCFA")
"""Units of one letter, which may also be names of variables: `48g`, `5 m`."""

SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

NUMERALS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40,
    "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
"""English number words, also the names of number bases."""

HEDGES = frozenset(
    ("about", "approximately", "around", "roughly", "exactly", "only", "rs", "usd", "us", "eur")
)
"""Words before a number that do not change it."""
