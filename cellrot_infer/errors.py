"""What the user can repair: every message says what, where and what to do."""


class CellrotError(Exception):
    """Base of every error that is the user's to repair."""


class FrameError(CellrotError):
    """A microscope image cannot be read."""


class ModelError(CellrotError):
    """A model file is missing, altered, not ours, or written by another version."""


class DeviceError(CellrotError):
    """The device that was asked for cannot be used."""


class OutputError(CellrotError):
    """A result cannot be written."""


class DataError(CellrotError):
    """A patch set, an index or a table of labels cannot be used."""


class ReportError(CellrotError):
    """A report, its corrections or their audit trail cannot be used."""
