"""Which samples are copies of one photograph: they share a content hash or a `group_id`."""

from __future__ import annotations

from collections.abc import Sequence

from mirada.types import Sample


def group_keys(samples: Sequence[Sample]) -> dict[str, str]:
    """The group of each sample id: the smallest content hash that it is linked to by hash or `group_id`."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    of_group: dict[str, str] = {}
    for sample in samples:
        mine = root(sample.content_sha256)
        if sample.group_id is None:
            continue
        other = root(of_group.setdefault(sample.group_id, mine))
        parent[max(mine, other)] = min(mine, other)
    return {sample.sample_id: root(sample.content_sha256) for sample in samples}
