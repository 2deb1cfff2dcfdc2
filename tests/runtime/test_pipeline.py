import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pisr_core.runtime.patience import worker_pool
from pisr_core.runtime.pipeline import mapped_ahead, read_ahead


def test_results_are_in_order_whatever_the_time_they_take():
    def slow(number):
        time.sleep(0.002 * (5 - number % 5))
        return number * number

    with worker_pool(4) as pool:
        assert list(mapped_ahead(slow, range(20), pool, 6)) == [number**2 for number in range(20)]


def test_no_more_items_than_asked_for_are_read():
    read = []

    def items():
        for number in range(100):
            read.append(number)
            yield number

    with worker_pool(2) as pool:
        results = mapped_ahead(str, items(), pool, 3)
        assert next(results) == "0" and len(read) == 4
        assert next(results) == "1" and len(read) == 5
    assert list(read_ahead(iter("abc"), 5)) == ["a", "b", "c"]


def test_an_error_is_raised_where_its_result_is_due():
    with ThreadPoolExecutor(2) as pool:
        results = mapped_ahead(lambda number: 6 // number, [3, 0, 2], pool, 8)
        assert next(results) == 2
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_what_has_not_begun_is_given_up_when_the_block_fails():
    begun, go = [], threading.Event()

    def work(number):
        begun.append(number)
        go.wait(5)

    with pytest.raises(KeyboardInterrupt), worker_pool(1) as pool:
        for number in range(10):
            pool.submit(work, number)
        while not begun:
            time.sleep(0.001)
        threading.Timer(0.05, go.set).start()
        raise KeyboardInterrupt
    assert begun == [0]


@pytest.mark.parametrize(("weight", "begun"), [(0, 9), (5, 2), (6, 1), (11, 1)])
def test_the_weight_of_what_is_computed_ahead_has_a_limit(weight, begun):
    submitted = []

    class Pool(ThreadPoolExecutor):
        def submit(self, function, item):
            submitted.append(item)
            return super().submit(function, item)

    with Pool(2) as pool:
        results = mapped_ahead(str, range(20), pool, 8, lambda item: weight, 10)
        assert next(results) == "0" and len(submitted) == begun
        assert list(results) == [str(number) for number in range(1, 20)]
