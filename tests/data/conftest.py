"""Waiting for the disk costs 10 ms a time and shows nothing here: no test cuts the power."""

import os

import pytest


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
