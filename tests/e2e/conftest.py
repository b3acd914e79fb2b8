"""Fixtures of the end-to-end tests; the work is in harness.py."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness  # noqa: E402


def pytest_sessionstart(session):
    harness.become_subreaper()


def pytest_collection_modifyitems(config, items):
    if not harness.PROGRAM.exists():
        raise pytest.UsageError(f"{harness.PROGRAM} is not built; `make test` builds and runs")


@pytest.fixture
def workshop():
    shop = harness.Workshop()
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def module_workshop():
    shop = harness.Workshop()
    yield shop
    shop.close()
