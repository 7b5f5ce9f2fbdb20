"""Shared fixtures. OpenMP workers must not spin: set before torch is imported anywhere."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import settings
from toys import make_panel

settings.register_profile("ci", derandomize=True, max_examples=50, deadline=None)
settings.register_profile("deep", max_examples=2000, deadline=None)
settings.load_profile("ci")


@pytest.fixture
def panel():
    return make_panel()


@pytest.fixture(scope="module", autouse=True)
def working_folder(tmp_path_factory):
    """A study made in Python keeps its trial ledger in the working folder: one for each test file."""
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("work"))
    yield
    os.chdir(before)
