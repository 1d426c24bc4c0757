"""A Hugging Face data set: Parquet in the hub's layout, and a card.

`image` is {bytes, path} and `label` a number; the schema's "huggingface" metadata say that they are an Image and a
ClassLabel (https://huggingface.co/docs/datasets/about_dataset_features), so that `datasets.load_dataset(FOLDER)`,
and of the Parquet files alone, give pictures and class names. Written without the library itself.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mirada.messages import Message, msg
from mirada.subsets.export import Loaded, Plan
from mirada.subsets.names import file_names

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# A reader of one photograph loads a row group: small ones, as the hub's own; and files that a network carries well.
GROUP_ROWS, GROUP_BYTES, FILE_BYTES = 100, 64_000_000, 500_000_000
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}


class HuggingFaceWriter:
    """Parquet files a split, and README.md at the end."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._label = {name: i for i, name in enumerate(plan.class_names)}
        names = file_names(plan.samples, grey=plan.request.grey)
        self._names = {sample.sample_id: name for sample, name in zip(plan.samples, names, strict=True)}
        self._splits: dict[str, _SplitFiles] = {}
        self.notes: list[Message] = []
        if plan.request.grey:
            self.notes.append(msg("The photographs were written without colour: JPEG as JPEG, all others as PNG."))

    def add(self, loaded: Loaded) -> None:
        """One photograph more."""
        sample = loaded.sample
        split = _HUB_SPLITS[sample.split] if sample.split else "train"
        if split not in self._splits:
            self._splits[split] = _SplitFiles(self._plan.build / "data", split, _schema(self._plan.class_names))
        self._splits[split].add(
            {
                "image": {"bytes": loaded.data, "path": self._names[sample.sample_id]},
                "label": self._label[str(sample.label)],
                "sample_id": sample.sample_id,
            },
            len(loaded.data),
        )

    def finish(self) -> None:
        """Close the files, give them their numbers, write the card."""
        for files in self._splits.values():
            files.finish()
        order = [name for name in _HUB_SPLITS.values() if name in self._splits]
        text = _card(self._plan, [self._splits[name] for name in order])
        (self._plan.build / "README.md").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Close the files."""
        for files in self._splits.values():
            files.close()


class _SplitFiles:
    """The Parquet files of one split while they are written."""

    def __init__(self, folder: Path, split: str, schema: pa.Schema) -> None:
        self.split, self.n_rows, self.n_bytes = split, 0, 0
        self._folder, self._schema = folder, schema
        self._rows: list[dict[str, object]] = []
        self._rows_bytes = self._file_bytes = 0
        self._paths: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        folder.mkdir(exist_ok=True)

    def add(self, row: dict[str, object], n_bytes: int) -> None:
        self._rows.append(row)
        self._rows_bytes += n_bytes
        self.n_rows += 1
        self.n_bytes += n_bytes
        if len(self._rows) >= GROUP_ROWS or self._rows_bytes >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._writer is None:
            self._paths.append(self._folder / f"{self.split}-{len(self._paths)}.parquet")
            self._writer = pq.ParquetWriter(self._paths[-1], self._schema, compression="snappy")
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._file_bytes += self._rows_bytes
        self._rows, self._rows_bytes = [], 0
        if self._file_bytes >= FILE_BYTES:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._file_bytes = None, 0

    def finish(self) -> None:
        if self._rows:
            self._flush()
        self.close()
        for i, path in enumerate(self._paths):
            path.rename(self._folder / f"{self.split}-{i:05d}-of-{len(self._paths):05d}.parquet")


def _schema(class_names: tuple[str, ...]) -> pa.Schema:
    import pyarrow as pa

    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
        "sample_id": {"dtype": "string", "_type": "Value"},
    }
    fields = [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("label", pa.int64()),
        ("sample_id", pa.string()),
    ]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _card(plan: Plan, splits: list[_SplitFiles]) -> str:
    """README.md: what the hub reads between the dashes, and what a person reads below."""
    classes = [f"          {json.dumps(str(i))}: {_quoted(name)}" for i, name in enumerate(plan.class_names)]
    lines = ["---", "task_categories:", "- image-classification", "dataset_info:", "  features:"]
    lines += ["  - name: image", "    dtype: image", "  - name: label", "    dtype:"]
    lines += ["      class_label:", "        names:", *classes, "  - name: sample_id", "    dtype: string", "  splits:"]
    for files in splits:
        lines += [f"  - name: {files.split}", f"    num_bytes: {files.n_bytes}", f"    num_examples: {files.n_rows}"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for files in splits:
        lines += [f"  - split: {files.split}", f"    path: data/{files.split}-*"]
    total = sum(files.n_rows for files in splits)
    counts = Counter({files.split: files.n_rows for files in splits})
    told = ", ".join(f"{n} {split}" for split, n in counts.items())
    grey = " They were written without colour." if plan.request.grey else ""
    return "\n".join(
        [
            *lines, "---", "", f"# {plan.request.title}", "",
            f"{total} photographs of {len(plan.class_names)} classes ({told}), exported with Mirada.{grey}", "",
            "The photographs keep the licence of where they came from.", "",
        ]
    )  # fmt: skip


def _quoted(text: str) -> str:
    """A YAML string: JSON's are YAML's, but for what JSON leaves raw and YAML does not allow."""
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
