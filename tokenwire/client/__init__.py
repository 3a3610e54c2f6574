"""A client that resumes: ``from tokenwire.client import stream``."""

from tokenwire.client.errors import Failed, Lost, Refused, StreamError, Unreachable
from tokenwire.client.streams import Stream, stream
from tokenwire.client.wire import ENDINGS

__all__ = ["ENDINGS", "Failed", "Lost", "Refused", "Stream", "StreamError", "Unreachable", "stream"]
