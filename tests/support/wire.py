"""What is in a message's bytes on the network, of which most are masked words, and so random."""

from flwr.app import ArrayRecord, Message
from flwr.common.serde import message_to_proto

from fl_app.flower.names import MASKED_RECORD

LONG = 8
"""So many bytes stand by chance in a megabyte of masked words less often than once in ten trillion times."""


def wire_bytes(message: Message) -> bytes:
    """Return a message as Flower puts it on the network, metadata included."""
    return message_to_proto(message).SerializeToString()


def shows(message: Message, what: bytes) -> bool:
    """Say whether a message holds these bytes.

    Fewer than `LONG` are not looked for among masked words: in a megabyte of those any four bytes stand by chance once
    in 4,000 times, and that nothing but masked words is there, other tests show.
    """
    sent = wire_bytes(message)
    if len(what) < LONG:
        for words in _masked_words(message):
            assert words in sent
            sent = sent.replace(words, b"\n")
    return what in sent


def _masked_words(message: Message) -> list[bytes]:
    record = message.content.get(MASKED_RECORD) if message.has_content() else None
    arrays = record.values() if isinstance(record, ArrayRecord) else ()
    return [array.data[-size:] for array in arrays if (size := array.numpy().nbytes)]
