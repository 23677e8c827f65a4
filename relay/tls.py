"""Whose certificates we trust when we are the client: the system's, or an authority of our own."""

import ssl


def client_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that verifies the server and its name, TLS 1.2 at least.

    Args:
        ca_file: PEM certificates to trust instead of the system's.
    Raises:
        ConnectionError: the file cannot be used; one line that names it.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as exc:  # ssl.SSLError is one, too
        raise ConnectionError(f"cannot trust {ca_file}: {exc.strerror or exc}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
