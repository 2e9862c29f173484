"""Broken bundles and broken images raise nothing but our own error, and take no time."""

import pytest
from fuzz import fuzz


@pytest.mark.parametrize("thousands", [0, pytest.param(10, id="slow")])
def test_broken_bundles_and_images_raise_nothing_but_our_own_error(thousands, request):
    if thousands and "slow" not in request.config.getoption("--flags"):
        pytest.skip("ten thousand of each take half an hour: --flags slow")
    cases = {"bundles": 1000 * thousands or 100, "images": 1000 * thousands or 400}
    found = fuzz(**cases, seed=7)
    for kind, number in cases.items():
        assert not found[kind]["failures"], found[kind]["failures"][:3]
        assert found[kind]["predicted"] + found[kind]["refused"] == number and found[kind]["predicted"] > 3
