"""What the embedded recogniser knows of English call-centre speech: the text it was made of, the program that makes it, the made files."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
MODEL: Final = FOLDER / "calls.lm.bin"
DICTIONARY: Final = FOLDER / "calls.dict"
MEANS: Final = FOLDER / "calls.means"
