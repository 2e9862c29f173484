"""A few hundred of the ten thousand broken bundles and images of benchmarks/fuzz.py."""

import sys

from conftest import ROOT


def test_broken_bundles_and_pictures_raise_nothing_but_our_own_error(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    sys.modules.pop("fuzz", None)
    from fuzz import fuzz

    found = fuzz(bundles=100, pictures=400, seed=7, quiet=True)
    for kind, number in (("bundles", 100), ("pictures", 400)):
        assert not found[kind]["failures"], found[kind]["failures"][:3]
        assert found[kind]["answered"] + found[kind]["refused"] == number and found[kind]["answered"] > 3
