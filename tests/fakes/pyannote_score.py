"""Run by the Python of pyannote's environment: what pyannote.metrics says of pairs of reference and hypothesis.

``python pyannote_score.py IN.json OUT.json``: a list of {reference, hypothesis, collar} in, talks being [start, end, speaker]; for each
{missed, false_alarm, confused, speech} out.
"""

import json
import sys
from pathlib import Path

from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate


def annotation(talks: list[list]) -> Annotation:
    made = Annotation()
    for number, (start, end, speaker) in enumerate(talks):
        made[Segment(start, end), number] = speaker
    return made


found = []
for case in json.loads(Path(sys.argv[1]).read_text()):
    # its collar is the width of what is left out, half of it on each side
    rate = DiarizationErrorRate(collar=2 * case["collar"], skip_overlap=False)
    told = rate(annotation(case["reference"]), annotation(case["hypothesis"]), detailed=True)
    names = {"missed": "missed detection", "false_alarm": "false alarm", "confused": "confusion", "speech": "total"}
    found.append({ours: float(told[theirs]) for ours, theirs in names.items()})
Path(sys.argv[2]).write_text(json.dumps(found))
