"""The values that every client has to bring back as they were."""

MEBIBYTE = 1024 * 1024
TOO_LARGE = b"x" * (MEBIBYTE + 1)

EVERY_TYPE = [b"\x00\r\nEND\r\n\xff", "text é", -7, 2**70, True, None, [1, {"a": (2, 1.5)}]]

# From nothing to what is left of a mebibyte, the default item limit, beside key and item header.
LENGTHS = [0, 1, 4096, 65536, 500_000, MEBIBYTE - 250]

UTF8_AND_LONG_KEYS = ["clé-ключ-鍵-🔑", "é" * 125, "k" * 250]


def value_of(length):
    """Every byte there is, over and over."""
    return (bytes(range(256)) * (length // 256 + 1))[:length]
