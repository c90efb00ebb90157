"""Check the public names of the package, which are loaded when they are first used."""

from __future__ import annotations

import pytest

import datachan


def test_lists_and_loads_every_public_name() -> None:
    assert set(datachan.__all__) <= set(dir(datachan))
    for name in datachan.__all__:
        assert getattr(datachan, name) is not None


def test_has_no_other_name() -> None:
    with pytest.raises(AttributeError, match="RTCRtpSender"):
        datachan.RTCRtpSender  # noqa: B018 - it is the access that raises
