"""Makes `Recordings` of the settings of this process."""

from pathlib import Path

from malha.recording.blobs import make_blobs
from malha.recording.keys import KEY_FILE, MasterKey
from malha.recording.recordings import Recordings
from malha.recording.settings import RecordingSettings
from malha.store.database import Database


def make_recordings(database: Database, data_directory: Path, settings: RecordingSettings | None = None) -> Recordings:
    """Raises FailedPrecondition for a key that cannot be read or made, or a store that is not set up."""
    settings = settings or RecordingSettings()
    key = MasterKey(settings.recording_key_file or data_directory / KEY_FILE)
    return Recordings(database, make_blobs(settings, data_directory), key, settings)
