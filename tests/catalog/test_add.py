"""Adding: idempotent, resumable, and safe beside another process and after a kill."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from mirada.catalog.catalog import Catalog
from mirada.catalog.records import AddCounts
from mirada.types import Decision, Issue, Rejected, Sample

Make = Callable[..., Sample]

ADDER = """
import hashlib, sys
from mirada.catalog.catalog import Catalog
from mirada.types import Rejected, Sample
url, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def make(i):
    uri = f"/photos/{i:06d}.jpg"
    sha = hashlib.sha256(b"%d" % i).hexdigest()
    id_ = hashlib.sha256(f"photos\\0{uri}".encode()).hexdigest()[:20]
    return Sample(id_, sha, uri, "photos", 64, 48, "RGB", "JPEG", 1000 + i, "cat", "folder", mtime_ns=i)
with Catalog.open(url) as catalog:
    print("ready", flush=True)
    for i in range(first, last, 50):
        good = [make(k) for k in range(i, i + 50) if k % 10]
        bad = [Rejected(f"/photos/{k:06d}.jpg", "photos", "truncated") for k in range(i, i + 50) if not k % 10]
        catalog.add(good, bad)
print("done", flush=True)
"""


def test_adds_and_gives_back_what_was_added(catalog: Catalog, sample: Make) -> None:
    given = [sample(i, phash=-(2**63) + i, n_bytes=2**40, split="val", label="gâteau 🍰\n<b>") for i in range(3)]
    assert catalog.add(given, []) == AddCounts(n_added=3)
    for one in given:
        held = catalog.sample(one.sample_id)
        assert held.added_at.endswith("+00:00")
        assert held == Sample(**{**{name: getattr(one, name) for name in one.__slots__}, "added_at": held.added_at})


def test_adding_twice_adds_nothing(catalog: Catalog, sample: Make) -> None:
    given = [sample(i) for i in range(2500)]
    refused = [Rejected("/photos/bad.jpg", "photos", "truncated", "at byte 12", 50, 7)]
    assert catalog.add(given, refused) == AddCounts(n_added=2500, n_rejected=1)
    before = list(catalog.samples())
    assert catalog.add(given, refused) == AddCounts(n_known=2500)
    assert list(catalog.samples()) == before
    assert list(catalog.rejected()) == refused
    assert catalog.counts()["samples"] == 2500


def test_a_photograph_listed_twice_in_one_batch_is_one_sample(catalog: Catalog, sample: Make) -> None:
    assert catalog.add([sample(1), sample(1), sample(1, source="other")]) == AddCounts(n_added=2)


def test_a_changed_file_updates_its_sample_and_drops_its_issues(catalog: Catalog, sample: Make) -> None:
    one, two = sample(1), sample(2)
    catalog.add([one, two])
    catalog.set_groups({one.sample_id: "g", two.sample_id: "g"})
    catalog.save_issues([Issue(one.sample_id, "dark", 0.1, True, 0.2), Issue(two.sample_id, "dark", 0.1, True, 0.2)])
    assert catalog.add([sample(1, content_sha256="f" * 64, width=99, mtime_ns=77), two]) == AddCounts(0, 1, 1, 0)
    held = catalog.sample(one.sample_id)
    assert (held.content_sha256, held.width, held.mtime_ns, held.group_id) == ("f" * 64, 99, 77, None)
    assert catalog.sample(two.sample_id).group_id == "g"
    assert [row.issue.sample_id for row in catalog.issues("dark")] == [two.sample_id]
    assert catalog.counts()["by_check"] == {"dark": 1}


def test_a_touched_file_is_known_and_its_new_time_is_kept(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(1)])
    assert catalog.add([sample(1, mtime_ns=99)]) == AddCounts(n_known=1)
    assert catalog.known([sample(1).uri]) == {sample(1).uri: (1001, 99)}


def test_an_edited_label_changes_the_sample_unless_it_was_decided(catalog: Catalog, sample: Make) -> None:
    one, two = sample(1), sample(2)
    catalog.add([one, two])
    catalog.decide([Decision(two.sample_id, "relabel", new="owl")])
    assert catalog.add([sample(1, label="dog"), sample(2, label="dog")]).n_changed == 2
    assert catalog.counts_by_class() == {"dog": 1, "owl": 1}
    catalog.undo()
    assert catalog.counts_by_class() == {"dog": 2}


def test_an_empty_label_is_none(catalog: Catalog, sample: Make) -> None:
    catalog.add([sample(1, label=""), sample(2, label=None)])
    assert [held.label for held in catalog.samples()] == [None, None]
    assert catalog.counts()["unlabelled"] == 2
    assert catalog.add([sample(1, label=""), sample(2, label=None)]) == AddCounts(n_known=2)


def test_an_edited_split_moves_the_sample_until_a_split_is_saved(catalog: Catalog, sample: Make) -> None:
    one = sample(1, split="train")
    catalog.add([one])
    catalog.add([sample(1, split="val")])
    assert catalog.sample(one.sample_id).split == "val"
    catalog.set_sample_splits({one.sample_id: "test"})
    catalog.add([sample(1, split="train")])
    assert catalog.sample(one.sample_id).split == "test"
    assert dict(catalog.given_splits()) == {one.sample_id: "train"}
    assert catalog.counts()["by_split"] == {"test": 1}


def test_a_sample_that_breaks_is_rejected_and_comes_back_with_its_decisions(catalog: Catalog, sample: Make) -> None:
    one = sample(1)
    catalog.add([one])
    catalog.save_issues([Issue(one.sample_id, "dark", 0.1, True, 0.2)])
    catalog.decide([Decision(one.sample_id, "relabel", new="owl"), Decision(one.sample_id, "drop")])
    broken = Rejected(one.uri, one.source, "truncated")
    assert catalog.add([], [broken]) == AddCounts(n_rejected=1)
    assert list(catalog.samples(status=None)) == []
    assert catalog.counts()["by_reason"] == {"truncated": 1}
    assert catalog.counts()["decided"] == 0
    catalog.undo()  # the drop, while the sample is away
    catalog.add([one])
    assert list(catalog.rejected()) == []
    assert catalog.sample(one.sample_id).label == "owl"
    assert catalog.counts()["decided"] == 1


def test_a_new_reason_replaces_the_old(catalog: Catalog) -> None:
    catalog.add([], [Rejected("/a.jpg", "photos", "missing")])
    catalog.add([], [Rejected("/a.jpg", "photos", "truncated", "at 3", 10, 11)])
    assert list(catalog.rejected()) == [Rejected("/a.jpg", "photos", "truncated", "at 3", 10, 11)]
    assert list(catalog.rejected("elsewhere")) == []
    assert catalog.counts()["by_reason"] == {"truncated": 1}
    assert catalog.known(["/a.jpg", "/b.jpg"]) == {"/a.jpg": (10, 11)}


def test_a_source_is_remembered_by_its_signature(catalog: Catalog) -> None:
    assert catalog.source_signature("photos") is None
    catalog.set_source_signature("photos", "abc")
    catalog.set_source_signature("photos", "def")
    assert catalog.source_signature("photos") == "def"


def test_nothing_is_added_when_a_row_is_refused(catalog: Catalog, sample: Make) -> None:
    with pytest.raises(Exception, match=r"(?i)not.null"):
        catalog.add([sample(1), sample(2, width=None)])
    assert catalog.counts()["samples"] == 0
    assert list(catalog.samples()) == []


def test_two_processes_add_at_once(url: str, kept: Callable[..., object], recounted: Callable[..., object]) -> None:
    # They overlap in a third of the photographs, and both begin by making the catalogue.
    ranges = [("0", "2000"), ("1000", "3000")]
    adders = [
        subprocess.Popen([sys.executable, "-c", ADDER, url, *ends], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for ends in ranges
    ]
    for adder in adders:
        out, err = adder.communicate(timeout=120)
        assert adder.returncode == 0, err.decode()
        assert b"done" in out
    with Catalog.open(url) as catalog:
        assert catalog.counts()["samples"] == 2700
        assert catalog.counts()["by_reason"] == {"truncated": 300}
        assert kept(catalog) == recounted(catalog)


def test_a_kill_at_any_moment_loses_nothing_that_was_added(
    url: str, sample: Make, long_run: bool, kept: Callable[..., object], recounted: Callable[..., object]
) -> None:
    rng = random.Random(7)
    n_before = -1
    for _ in range(20 if long_run else 3):
        with subprocess.Popen([sys.executable, "-c", ADDER, url, "0", "4000"], stdout=subprocess.PIPE) as adder:
            assert adder.stdout is not None
            assert adder.stdout.readline() == b"ready\n"
            time.sleep(rng.uniform(0, 0.4))
            adder.send_signal(signal.SIGKILL)
        with Catalog.open(url) as catalog:
            assert kept(catalog) == recounted(catalog)
            n = sum(1 for _ in catalog.samples())
            assert n % 45 == 0  # whole batches
            assert n >= n_before
            n_before = n
    subprocess.run([sys.executable, "-c", ADDER, url, "0", "4000"], check=True, stdout=subprocess.DEVNULL)
    with Catalog.open(url) as catalog, Catalog.open("sqlite://") as undisturbed:
        undisturbed.add([sample(i) for i in range(4000) if i % 10])
        assert catalog.freeze_dataset().dataset_id == undisturbed.freeze_dataset().dataset_id
        assert catalog.counts()["rejected"] == 400
