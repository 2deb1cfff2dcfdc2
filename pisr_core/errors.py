"""What can go wrong through no fault of the code: each message says what, where, and the cure."""


class PisrError(Exception):
    """A problem that the user can mend. The command line prints its message alone and exits with code 2."""


class ConfigError(PisrError):
    """A preset, an override or a setting that cannot be used."""


class DataError(PisrError):
    """Images or annotations that are missing, broken or contradict each other."""


class CheckpointError(PisrError):
    """A weights file that is missing, truncated, foreign or does not fit the model."""


class DownloadError(PisrError):
    """A public file that is out of reach, or whose bytes are not the published ones."""


class OutputError(PisrError):
    """A file that cannot be written: a full disk, a folder without permission."""


class DeviceError(PisrError):
    """A device that ran out of memory or failed."""


class TrainingError(PisrError):
    """A training run that cannot start, continue or be trusted."""


class ExportError(PisrError):
    """A model that cannot be exported, or an exported one that does not answer as the model does."""
