import re

import pytest

from neuromod import datasets
from neuromod.core.errors import InvalidInputError
from neuromod.datasets import registry

ENTRIES = list(registry.entries().values())
each_entry = pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)


@each_entry
def test_entry_is_complete(entry):
    told = ("title", "what", "modality", "basename", "source", "licence", "citation")
    for field in told:
        value = getattr(entry, field)
        assert isinstance(value, str)
        assert len(value) > 3, field
    assert set(entry.family) <= {"switching", "decoding", "hgf", "pvrnn", "stimulation"}
    assert entry.family
    assert entry.bytes is None or entry.bytes > 0


@each_entry
def test_hash_is_written_down_only_with_its_source(entry):
    if entry.sha256 == registry.UNVERIFIED:
        assert entry.hash_source == ""
    else:
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        # A list that can be looked up: repository, path, commit.
        assert re.search(r"github\.com/.+, .+, commit [0-9a-f]{40}", entry.hash_source)


@each_entry
def test_file_is_a_plain_name_and_the_url_is_encrypted(entry):
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", entry.basename)
    assert entry.url == "" or entry.url.startswith("https://")


@each_entry
def test_loader_and_twin_exist(entry):
    assert callable(registry.function(entry.loader))
    assert callable(registry.function(entry.twin))
    face = entry.twin.partition(":")[2]
    assert getattr(datasets, face) is registry.function(entry.twin)


@each_entry
def test_blocks_follow_one_another(entry):
    for (_, start, stop), (_, following, _) in zip(
        entry.blocks, entry.blocks[1:], strict=False
    ):
        assert start < stop == following


def test_files_are_different():
    assert len({entry.basename for entry in ENTRIES}) == len(ENTRIES)


def test_list_names_the_sets():
    assert "rat_ca1_wmaze" in datasets.list()
    assert datasets.list() == [entry.name for entry in ENTRIES]


def test_description_tells_where_it_comes_from_and_what_is_wrong_with_it():
    text = repr(datasets.describe("rat_ca1_wmaze"))
    assert "MIT, (c) 2017 nelpy" in text
    assert "unverified" in text
    assert "1.8 MB" in text
    assert "unit 19 fires at 107 Hz" in text
    assert "none: there is no public download" in text
    published = datasets.describe("mouse_head_direction")
    assert f"{published.sha256} (published in github.com/" in repr(published)


def test_misspelt_name_meets_the_nearest_one():
    with pytest.raises(InvalidInputError, match="Did you mean 'rat_ca1_wmaze'"):
        datasets.describe("rat_ca1_w-maze")
    with pytest.raises(InvalidInputError, match="Did you mean 'mouse_head_direction'"):
        datasets.fetch("mouse_headdirection")
    with pytest.raises(InvalidInputError, match="Known names: 'rat_ca1_wmaze'"):
        datasets.load("zzz")
