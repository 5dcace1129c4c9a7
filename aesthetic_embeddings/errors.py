"""Errors meant for the person at the page or the terminal: each says what is wrong and what to do next."""


class AestheticError(Exception):
    """Base of every error of this package; its text can be shown to a user as it is."""


class FileError(AestheticError):
    """A file is not what it should be. The text names the file."""


class EncoderError(AestheticError):
    """A text or image encoder is missing, unknown, or does not fit the embedding."""


class Interrupted(AestheticError):
    """The caller's callback asked to stop; nothing was written and nothing is left changed."""
