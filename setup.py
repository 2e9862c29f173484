"""Package metadata, all of it read from settings.ini so that nothing is written twice."""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]


def for_pypi(text: str) -> str:
    "README with whole addresses: on PyPI there is no file beside it to lead to."

    def whole(link: re.Match) -> str:
        if link[2].startswith("#"):
            return f"{link[1]}{cfg['git_url']}{link[2]}"
        kind = "raw" if link[2].endswith((".webp", ".svg", ".png")) else "blob"
        return f"{link[1]}{cfg['git_url']}/{kind}/{cfg['branch']}/{link[2]}"

    return re.sub(r"""(\]\(|\b(?:src|href)=")(?![a-z]+:)([^)"\s]+)""", whole, text)


def extra(*parts: str) -> list[str]:
    "The requirements that settings.ini names under these words."
    return [requirement for part in parts for requirement in cfg[f"{part}_requirements"].split()]


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=for_pypi((here / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    license="Apache-2.0",
    url=cfg["git_url"],
    packages=find_packages(include=["vehicle_nb", "vehicle_nb.*"]),
    # With this line, which changes nothing else, an editable install is an entry in sys.path. Without it, it is an import
    # hook that comes last, and from the folder above the clone Python would take the clone itself for the package.
    package_dir={"": "."},
    include_package_data=True,
    package_data={"vehicle_nb": ["serving/languages/*.json", "serving/static/*", "serving/web/*", "templates/*"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=cfg["requirements"].split(),
    extras_require={
        "app": extra("app"),
        "course": extra("course"),
        "docs": extra("course", "app"),  # the site is made by running the lessons' imports
        "onnx": extra("onnx"),
        "timm": extra("timm"),
        "teach": extra("teach", "course"),
        "dev": extra("dev", "course", "app", "onnx", "timm", "teach"),
        "peers": extra("peers", "timm"),
    },
    entry_points={
        "console_scripts": [line.strip() for line in cfg["console_scripts"].splitlines() if line.strip()],
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {version}" for version in cfg["python_versions"].split()),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    zip_safe=False,
)
