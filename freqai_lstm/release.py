"""Whether a plugin file and the installed package belong together."""

from __future__ import annotations

from freqai_lstm import __version__


def check_release(file: str, release: str) -> None:
    """Compare the release a plugin file belongs to with the package's.

    :param file: the plugin's file name.
    :param release: first two numbers of the version the file was shipped with.
    :raises ImportError: they differ; freqtrade's resolver shows the message.
    """
    installed = ".".join(__version__.split(".")[:2])
    if release != installed:
        raise ImportError(
            f"this {file} belongs to freqai-lstm {release}, {installed} is installed: "
            "run freqai-lstm init"
        )
