"""A plugin of pytest: tests in another order. `-p tests.order --order random [--order-seed N]`."""

import random
import time

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--order", choices=("reversed", "random"), default="random")
    parser.addoption("--order-seed", type=int, default=None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--order") == "reversed":
        items.reverse()
        return
    seed = config.getoption("--order-seed")
    seed = int(time.time()) if seed is None else seed
    print(f"--order-seed {seed}")
    random.Random(seed).shuffle(items)
