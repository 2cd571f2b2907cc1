"""Makes what the embedded recogniser knows of calls: ``python -m malha.transcribe.language_model.build [FOLDER]``.

From the templates in ``text/`` and the models in PocketSphinx's wheel come ``calls.lm.bin`` and ``calls.dict``; from some of the same
sentences, spoken by espeak-ng, ``calls.means``. The same versions of the wheels and of NumPy on the same machine give the same bytes.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pocketsphinx

from malha.transcribe.language_model import DICTIONARY, FOLDER, MEANS, MODEL
from malha.transcribe.language_model.acoustic import read_model, write_means
from malha.transcribe.language_model.adapt import Adaptation, adapt, digest, plan
from malha.transcribe.language_model.estimate import Mixture, estimate
from malha.transcribe.language_model.ngrams import NGrams, read, write
from malha.transcribe.language_model.pronunciations import Pronunciations, dictionary_lines, pronounce, read_pronunciations
from malha.transcribe.language_model.templates import expand, read_classes, read_templates

TEXT: Final = Path(__file__).parent / "text"
SENTENCES_A_TEMPLATE: Final = 80
GENERAL_WORDS: Final = 8_000
"""So many of the commonest words of English are known whether the sentences use them or not."""
PLAN: Final = "plan"
"""What of this project the means were made from, in their file's header; see `malha.transcribe.language_model.adapt.digest`."""

Sentences = Sequence[tuple[str, ...]]
Tell = Callable[[str], None]


def read_sentences() -> Sentences:
    """The expanded text."""
    classes = read_classes(TEXT / "classes.txt")
    return [sentence for template in read_templates(TEXT) for sentence in expand(template, classes, SENTENCES_A_TEMPLATE)]


def build_language_model(sentences: Sentences, folder: Path) -> NGrams:
    """Write the language model and the dictionary. Raises ValueError naming the words of the text that have no pronunciation."""
    known = read_pronunciations()
    general = read(Path(pocketsphinx.get_model_path()) / "en-us" / "en-us.lm.bin")
    vocabulary = {word for sentence in sentences for word in sentence} | _commonest(general, known)
    pronunciations = pronounce(vocabulary, known)
    model = estimate(sentences, general, sorted(vocabulary), Mixture())
    write(model, folder / MODEL.name)
    (folder / DICTIONARY.name).write_text("".join(dictionary_lines(pronunciations)), encoding="utf-8")
    return model


def build_means(sentences: Sentences, folder: Path, adaptation: Adaptation, tell: Tell) -> None:
    """Write the adapted means. The dictionary must be in the folder. Speaks, so once per process (see `speech`)."""
    model = read_model()
    utterances = plan(sentences, adaptation)
    means = adapt(model, utterances, folder / DICTIONARY.name, adaptation.tau, tell)
    write_means(means, folder / MEANS.name, **{PLAN: digest(utterances, adaptation)})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m malha.transcribe.language_model.build", description=_DESCRIPTION)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=FOLDER, help="where the files go (default: where the recogniser finds them)"
    )
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()

    def tell(line: str) -> None:
        sys.stdout.write(f"{time.monotonic() - begin:6.1f} s  {line}\n")
        sys.stdout.flush()

    sentences = read_sentences()
    tell(f"{len(sentences)} sentences from {TEXT.name}/")
    model = build_language_model(sentences, folder)
    tell(f"{MODEL.name}, {DICTIONARY.name}: {len(model.words)} words, {len(model.bigrams)} bigrams, {len(model.trigrams)} trigrams")
    build_means(sentences, folder, Adaptation(), tell)
    tell(f"{MEANS.name}: done, all in {folder}")


def _commonest(general: NGrams, known: Pronunciations) -> set[str]:
    by_frequency = (general.words[index] for index in np.argsort(-general.unigram_log, kind="stable"))
    return set([word for word in by_frequency if word in known][:GENERAL_WORDS])


_DESCRIPTION: Final = (
    "Makes calls.lm.bin, calls.dict and calls.means, which the pocketsphinx engine recognises English calls with, "
    "from the templates in text/, the models in PocketSphinx's wheel and espeak-ng's speech. Takes about a minute of one core."
)

if __name__ == "__main__":
    main()
