"""Packaging; all metadata come from `settings.ini`."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="])
config.read("settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

EXTRAS = (
    *("train", "engines", "export", "tensorrt", "lab", "docs", "cluster", "federated", "postgres", "dicom", "test"),
)
extras = {name: cfg[f"{name}_requirements"].split() for name in EXTRAS}
extras["dev"] = [requirement for listed in extras.values() for requirement in listed]

status = {"1": "Planning", "2": "Pre-Alpha", "3": "Alpha", "4": "Beta", "5": "Production/Stable"}[cfg["status"]]
oldest, newest = (int(cfg[f"{end}_python"].split(".")[1]) for end in ("min", "max"))
pythons = ["3", "3 :: Only", *(f"3.{minor}" for minor in range(oldest, newest + 1))]

setup(
    name=cfg["repo"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["git_url"],
    license="Apache-2.0",
    keywords=cfg["keywords"].split(),
    classifiers=[
        f"Development Status :: {cfg['status']} - {status}",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        *(f"Programming Language :: Python :: {version}" for version in pythons),
    ],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=["pneumonia_nbdev", "pneumonia_nbdev.*"]),
    package_data={
        "pneumonia_nbdev": [
            "sample/*.md",
            "sample/*.csv",
            "sample/*.npz",
            "sample/*/*/*.jpeg",
            "sample/*/*/*/*.jpeg",
            "models/*",
            "templates/*",
            "web/*",
            "locale/*",
            "app/static/*",
            "app/vendor/*",
        ]
    },
    include_package_data=True,
    zip_safe=False,
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "fsspec.specs": ["dicomweb=pneumonia_nbdev.dicom.web.DicomwebFileSystem"],
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
)
