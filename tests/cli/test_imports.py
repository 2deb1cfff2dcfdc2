import gc

import pytest

from pisr_cli.terminal.imports import quick_imports


@pytest.fixture(autouse=True)
def as_before():
    yield
    gc.unfreeze()


def test_nothing_is_looked_for_meanwhile_nor_among_what_is_left():
    before = gc.get_freeze_count()
    with quick_imports():
        assert not gc.isenabled()
        left = [[]]
    assert gc.isenabled() and gc.get_freeze_count() > before
    assert not any(each is left for each in gc.get_objects())  # of the generations that are gone through


def test_an_import_that_fails_leaves_all_as_it_was():
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert gc.isenabled()
