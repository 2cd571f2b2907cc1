"""The number words of English."""

from malha.text.numbers.grammar import Entry, Kind, Lexicon, digits, entries, separators
from malha.text.tokens import word_set

LEXICON = Lexicon(
    words={
        **digits("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", shared="one"),
        **entries(Kind.WEAK, 0, 0, "oh o"),
        **entries(
            Kind.TEEN,
            10,
            1,
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ),
        **entries(Kind.TENS, 20, 10, "twenty", "thirty", "forty fourty", "fifty", "sixty", "seventy", "eighty", "ninety"),
        "hundred": Entry(Kind.HUNDRED, 100),
        "thousand": Entry(Kind.THOUSAND, 1000),
        **entries(Kind.SCALE, 10**6, 0, "million"),
        **entries(Kind.SCALE, 10**9, 0, "billion"),
        **entries(Kind.SCALE, 10**12, 0, "trillion"),
        "a": Entry(Kind.ARTICLE, 1),
        "and": Entry(Kind.AND),
        **entries(Kind.REPEAT, 2, 1, "double", "triple"),
        **entries(Kind.ORDINAL, 1, 1, "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
        **separators(point=".", dot=".", dash="-", hyphen="-", slash="/"),
    },
    and_after=frozenset({Kind.HUNDRED, Kind.THOUSAND, Kind.SCALE}),
    bare_after=frozenset({Kind.TENS}),
    lone_thousand=False,
    half=frozenset({"half"}),
    units=word_set(
        "dollar dollars euro euros cent cents pound pounds percent kilo kilos kg gram grams liter liters litre litres meter "
        "meters metre metres mile miles kilometer kilometers km gig gigs gb meg megs mb"
    )
    | {"per cent"},
    not_after={"a": frozenset({"half", "quarter", "thanks", "in"})},
    years=True,
)
