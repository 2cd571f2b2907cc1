"""Number words to digits, and where a text ends inside a run of them."""

from malha.text.numbers.folding import fold_numbers
from malha.text.numbers.lexicon import is_number_word, number_words
from malha.text.numbers.open_run import number_run_open

__all__ = ["fold_numbers", "is_number_word", "number_run_open", "number_words"]
