"""The experiments of the five reports: what each did, and the commands that repeat it on the data at hand.

In a command {data} and {weights} are the folders of photographs and weights, {network} the first of `networks` whose
weights are there, {seed} each of `seeds`, and {by_hand} what a person would decide (see `experiments_run.by_hand`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["train", "folds", "search", "look"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report: its photographs, ours, and what it chose on which of its photographs."""

    title: str
    theirs: str
    ours: str
    chose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A report's figure. `share` of `on` right (None: it gives none); `n` photographs where their number is known.

    `if_so`: under which reading of the report `n` holds. `more`: what else the report states.
    """

    share: float | None = None
    on: str = ""
    n: int | None = None
    if_so: str = ""
    more: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An experiment. `report`: its number in REPORTS; 0: not of a report. `minutes`: about, on two idle cores.

    `prepare`: commands before the first seed; `after`: commands behind a search, {winner} its best network's recipe.
    `data`: folders of which one must be there, under {data}; `data_name`: what a person calls it. `networks`:
    pretrained networks, the report's own first and then those that stand in for it.
    `quick`: words added to `command` for a quick run, or the whole command where it begins with "mirada".
    """

    name: str
    report: int
    title: str
    did: str
    claim: Claim
    command: str
    minutes: float
    differs: str = ""
    kind: Kind = "train"
    prepare: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    data: tuple[str, ...] = ()
    data_name: str = ""
    networks: tuple[str, ...] = ()
    quick: str = "--epochs 1"


REPORTS: Mapping[int, Report] = {
    1: Report(
        title="restaurant photographs",
        theirs="200,100 photographs scraped from Yelp in five classes (food 54 %, inside 28, outside 9, drink 8, "
        "menu 1), 9,454 of them looked at one by one.",
        ours="The 1,154 photographs of `restaurant_dirty`, in the same classes and shares, at most 600 × 400 pixels: "
        "a two-hundredth of theirs. They are cleaned first, as the report's were, by commands: what cannot be read is "
        "rejected, byte-identical copies are dropped by rule, copies that were changed are kept in the same part of "
        "the split, and for a person's look at the rest stand the answers that come with the set (60 photographs "
        "that belong nowhere dropped, 24 wrong labels put right). That leaves 1,032, split 70/15/15. A network from "
        "scratch learns from so few what it can; ten menus are too few for any.",
        chose="The 85.8 % is stated on val, the photographs that early stopping watches: such a figure flatters a "
        "little. For the other figures the notes on the report do not say which photographs they are on, and for none "
        "how many. Ours are on test photographs that nothing was chosen on.",
    ),
    2: Report(
        title="retail stock",
        theirs="3,215 photographs of a shop's stock, split 63/27/10.",
        ours="None of the shop's photographs is at hand. `sports15` stands in: the 2,119 photographs of its train "
        "folder alone, because the folder brings no split of its own and 63/27/10 can be drawn as the report did "
        "(where photographs bring a split, Mirada keeps it).",
        chose="The best epoch was chosen by the loss on val, and 83 % is on test photographs apart: the right way "
        "round. The interval beside it is for a tenth of 3,215 photographs.",
    ),
    3: Report(
        title="CIFAR-10 and CIFAR-100",
        theirs="50,000 photographs of 32 × 32 pixels to learn from and 10,000 to test on, in 10 and in 100 classes.",
        ours="`cifar10_jpeg`: the same photographs of CIFAR-10 after JPEG, which costs a mean error of 5.8 grey levels "
        "and a few points of accuracy. 5,000 of the 50,000 are val, drawn by Mirada. CIFAR-100 is not at hand.",
        chose="CIFAR comes without val, and the notes on the report do not say which photographs its early stop and "
        "its falling rate watched. If they were the 10,000 that it is judged on, its figures flatter; ours are on test "
        "photographs that nothing watched.",
    ),
    4: Report(
        title="image tags",
        theirs="CIFAR-10, perceptrons on the pixels: 3 optimisers × 3 activations × 1 to 3 layers, 50 epochs each, "
        "then with dropout and with early stopping.",
        ours="`cifar10_jpeg`, as above.",
        chose="66.3 % is the best of all its networks on the photographs that chose it, and its early stop watched "
        "them too: such a figure flatters. Ours in the tables are on val and chosen there in the same way, so that "
        "like stands beside like; an interval does not know that its network was chosen. What the best one does on "
        "test photographs, which chose nothing, is said below each table.",
    ),
    5: Report(
        title="sports",
        theirs="15 sports, 2,235 photographs to train with.",
        ours="`sports15`: 15 sports in the layout and size of the report's set, 2,119 photographs to train on, 75 for "
        "val and 75 for test; not the same photographs. The weights of MobileNetV2 at hand are not Keras's: their "
        "batch-norm statistics were estimated anew.",
        chose="Both figures are on 75 test photographs. The notes do not say what was watched while it trained. With "
        "75 photographs even 0.9067 may be anything in the interval beside it.",
    ),
    0: Report(
        title="beyond the reports",
        theirs="",
        ours="`sports15` and `cifar10_jpeg`. In five folds train, val and test are pooled and copies kept together, so "
        "that each of the 2,269 photographs is answered once by a network that did not see it; a fold chooses its "
        "epoch on a part of its own training photographs.",
        chose="",
    ),
}  # fmt: skip

_RESTAURANT = (
    "mirada add {data}/restaurant_dirty",
    "mirada clean --check corrupt --check exact_duplicate --check near_duplicate",
    "mirada decide --auto drop_exact_duplicates --auto drop_corrupt",
    "mirada decide {by_hand}",
)
_SPORTS = ("mirada add {data}/sports15",)
_PRETRAINED = "--backbone {network} --weights {weights}/{network}.safetensors"
_WINNER = ("mirada train --recipe {winner} --seed 0",)
_VAL = "--ratios 81/9/10"  # of CIFAR's 50,000 photographs 45,000 for train and 5,000 for val
_RESTAURANT_DATA, _SPORTS_DATA, _CIFAR_DATA = ("restaurant_dirty",), ("sports15",), ("cifar10_jpeg",)


def _grid(space: str) -> str:
    return f"mirada search {space} {{data}}/cifar10_jpeg {_VAL} --seed {{seed}}"


ITEMS: tuple[Item, ...] = (
    Item(
        name="restaurant-cnn", report=1, title="A CNN of 78 million parameters",
        did="The first network of the report, from scratch at 224 pixels, with early stopping.",
        claim=Claim(share=0.858, on="val", more="78 million parameters"),
        prepare=_RESTAURANT, command="mirada train --recipe restaurant-baseline --seed {seed}",
        data=_RESTAURANT_DATA, minutes=15,
        differs="The report does not give its layers; ours come within 1 % of its parameters.",
    ),
    Item(
        name="restaurant-balanced", report=1, title="The same CNN, classes balanced",
        did="The same network on equally many photographs of each class.",
        claim=Claim(share=0.663),
        prepare=(*_RESTAURANT, "mirada subset even --strategy balanced"),
        command="mirada train --subset even --recipe restaurant-baseline --seed {seed}",
        data=_RESTAURANT_DATA, minutes=4,
        differs="The rarest class, menu, gives the size of the subset: ten photographs of each class, and a few of "
        "them to test on. This says how the command goes, not what balancing is worth.",
    ),
    Item(
        name="restaurant-grey", report=1, title="The same CNN, without colour",
        did="The same network on photographs without colour.",
        claim=Claim(share=0.786),
        prepare=(*_RESTAURANT, "mirada subset grey --grey"),
        command="mirada train --subset grey --recipe restaurant-baseline --seed {seed}",
        data=_RESTAURANT_DATA, minutes=15,
    ),
    Item(
        name="restaurant-plus", report=1, title="The CNN that a grid search found",
        did="A grid over filters, kernels and pools ended with large pools and a fiftieth of the parameters.",
        claim=Claim(share=0.888, more="1,684,457 parameters"),
        prepare=_RESTAURANT, command="mirada train --recipe restaurant-plus --seed {seed}",
        data=_RESTAURANT_DATA, seeds=(0, 1, 2), minutes=30,
        differs="The network it ended with is trained; the search itself is not repeated.",
    ),
    Item(
        name="restaurant-vit", report=1, title="ViT-B/16 with a new head",
        did="A pretrained vision transformer, frozen, with a new head.",
        claim=Claim(share=0.968, more="11,906 s"),
        prepare=_RESTAURANT, command=f"mirada train --recipe vit-head {_PRETRAINED} --seed {{seed}}",
        data=_RESTAURANT_DATA, networks=("vit_base_patch16_224", "deit_tiny_patch16_224"), seeds=(0, 1, 2), minutes=6,
    ),
    Item(
        name="restaurant-resnet152", report=1, title="ResNet152V2 with a new head",
        did="A pretrained network of 152 layers, frozen, with a dense layer of 250, dropout and a new head.",
        claim=Claim(share=0.972, more="513,505 of its parameters learn"),
        prepare=_RESTAURANT, command=f"mirada train --recipe resnet152-head {_PRETRAINED} --seed {{seed}}",
        data=_RESTAURANT_DATA, networks=("resnetv2_152", "resnet152", "mobilenetv2_100"), seeds=(0, 1, 2), minutes=6,
    ),
    Item(
        name="retail-resnet18", report=2, title="ResNet-18 fine-tuned at a low rate",
        did="All of a pretrained ResNet-18 at a low rate, with augmentation; the epoch with the least loss on val.",
        claim=Claim(share=0.83, on="test", n=322, more="80.4 % on val"),
        command=f"mirada train {{data}}/sports15/train --recipe retail-resnet18 {_PRETRAINED} --seed {{seed}}",
        data=_SPORTS_DATA, networks=("resnet18", "mobilenetv2_100"), seeds=(0, 1, 2), minutes=25,
        differs="Other photographs of other things: the two figures cannot be compared, only the way of working.",
    ),
    Item(
        name="cifar10-cnn", report=3, title="A CNN for CIFAR-10",
        did="Six convolutions with batch norm, three pools, dense 512, from scratch; augmentation, L2, early stopping "
        "and a rate that falls where the loss on val stands still.",
        claim=Claim(share=0.90, n=10_000, if_so="on CIFAR-10's test photographs",
                    more="1,343,018 parameters, AUC 0.9899, 5 to 6 hours"),
        command=f"mirada train {{data}}/cifar10_jpeg --recipe cifar10-report {_VAL} --seed {{seed}}",
        data=_CIFAR_DATA, minutes=60,
    ),
    Item(
        name="cifar100-cnn", report=3, title="A CNN for CIFAR-100",
        did="The same convolutions, then dense 1,024 and 512, trained alike.",
        claim=Claim(share=0.62, n=10_000, if_so="on CIFAR-100's test photographs",
                    more="2,965,124 parameters, AUC 0.9598, 11 to 12 hours"),
        command=f"mirada train {{data}}/cifar-100-python --recipe cifar100-report {_VAL} --seed {{seed}}",
        data=("cifar-100-python",), data_name="CIFAR-100, unpacked into `$DATA/cifar-100-python`", minutes=80,
    ),
    Item(
        name="tags-grid", report=4, title="The grid of 27 networks",
        did="27 perceptrons, batch 512, 50 epochs each, without anything against overfitting.",
        claim=Claim(share=0.663, on="val", more="the best of all its tables"),
        command=_grid("government"), after=_WINNER, kind="search", quick="",
        data=_CIFAR_DATA, minutes=15,
        differs="The rates are those that Keras gives each optimiser by itself; the report's are not known.",
    ),
    Item(
        name="tags-dropout", report=4, title="The grid with dropout",
        did="The 27 with dropout.", claim=Claim(more="66.3 % is the best of all its tables"),
        command=_grid("government-dropout"), after=_WINNER, kind="search", quick="",
        data=_CIFAR_DATA, minutes=30,
        differs="Shares of 0.2 and 0.5 after each dense layer, so that there are 54.",
    ),
    Item(
        name="tags-stopping", report=4, title="The grid with early stopping",
        did="The 27, each stopped where it no longer improves.",
        claim=Claim(more="66.3 % is the best of all its tables"),
        command=_grid("government-stopping"), after=_WINNER, kind="search", quick="",
        data=_CIFAR_DATA, minutes=8,
    ),
    Item(
        name="tags-fast", report=4, title="The grid by successive halving",
        did="Not in the report: the same 27, most of them left behind early, each going on from where it paused.",
        claim=Claim(),
        command=_grid("government-fast"), after=_WINNER, kind="search", quick="",
        data=_CIFAR_DATA, minutes=2,
    ),
    Item(
        name="sports-look", report=5, title="MobileNetV2 as it is",
        did="The pretrained network was asked for its own 1,000 classes, which are not sports.",
        claim=Claim(more="its answers, without a figure"),
        command="mirada predict {data}/sports15/test --imagenet --backbone {network} "
        "--weights {weights}/{network}.safetensors",
        kind="look", data=_SPORTS_DATA, networks=("mobilenetv2_100",), minutes=0.5, quick="--top-k 1",
    ),
    Item(
        name="sports-frozen", report=5, title="MobileNetV2 frozen, with a new head",
        did="Global average pooling, dense 256 and a head on the frozen network.",
        claim=Claim(share=0.6133, on="test", n=75),
        command=f"mirada train {{data}}/sports15 --recipe sports-frozen {_PRETRAINED} --seed {{seed}}",
        data=_SPORTS_DATA, networks=("mobilenetv2_100",), seeds=(0, 1, 2), minutes=6,
    ),
    Item(
        name="sports-unfrozen", report=5, title="MobileNetV2, then its last three layers",
        did="The same, then the last three layers at a low rate.",
        claim=Claim(share=0.9067, on="test", n=75),
        command=f"mirada train {{data}}/sports15 --recipe sports-unfrozen {_PRETRAINED} --seed {{seed}}",
        data=_SPORTS_DATA, networks=("mobilenetv2_100",), seeds=(0, 1, 2), minutes=15,
        differs="Ours are the last three blocks, their batch norms kept as they were.",
    ),
    Item(
        name="choose-fast", report=0, title="`fast`, on the sports",
        did="The recipe for who wants an answer now: a head on the shipped backbone.",
        claim=Claim(), command="mirada train {data}/sports15 --recipe fast --seed {seed}",
        data=_SPORTS_DATA, seeds=(0, 1, 2), minutes=0.5, quick="",
    ),
    Item(
        name="choose-balanced", report=0, title="`balanced`, on the sports",
        did="MobileNetV2, first a new head, then all of it.",
        claim=Claim(), command=f"mirada train {{data}}/sports15 --recipe balanced {_PRETRAINED} --seed {{seed}}",
        data=_SPORTS_DATA, networks=("mobilenetv2_100",), seeds=(0, 1, 2), minutes=18,
    ),
    Item(
        name="choose-best", report=0, title="`best`, on the sports",
        did="DeiT-tiny, all of it, with rates by layer and averaged weights.",
        claim=Claim(), command=f"mirada train {{data}}/sports15 --recipe best {_PRETRAINED} --seed {{seed}}",
        data=_SPORTS_DATA, networks=("deit_tiny_patch16_224",), seeds=(0, 1, 2), minutes=15,
    ),
    Item(
        name="folds-mobilenet", report=0, title="`balanced` against the frozen head, in five folds",
        did="MobileNetV2 fine-tuned, and a logistic head on the same network frozen, on the same folds.",
        claim=Claim(), kind="folds", prepare=_SPORTS,
        command=f"mirada evaluate --folds 5 --recipe balanced {_PRETRAINED} --against fast --seed {{seed}}",
        quick=f"mirada evaluate --folds 2 --recipe balanced {_PRETRAINED} --epochs 1 --seed {{seed}}",
        data=_SPORTS_DATA, networks=("mobilenetv2_100",), minutes=25,
    ),
    Item(
        name="folds-deit", report=0, title="`best` against the frozen head, in five folds",
        did="DeiT-tiny fine-tuned, and a logistic head on the same network frozen, on the same folds.",
        claim=Claim(), kind="folds", prepare=_SPORTS,
        command=f"mirada evaluate --folds 5 --recipe best {_PRETRAINED} --against fast --seed {{seed}}",
        quick=f"mirada evaluate --folds 2 --recipe best {_PRETRAINED} --epochs 1 --seed {{seed}}",
        data=_SPORTS_DATA, networks=("deit_tiny_patch16_224",), minutes=25,
    ),
    Item(
        name="cifar-fast", report=0, title="`cifar-fast`, on CIFAR-10",
        did="A network for small photographs in the manner of the CIFAR speed records.",
        claim=Claim(), command="mirada train {data}/cifar10_jpeg --recipe cifar-fast --ratios 98/1/1 --seed {seed}",
        data=_CIFAR_DATA, seeds=(0, 1, 2, 3, 4), minutes=20,
        differs="About 500 of the 50,000 photographs are val, for the calibration alone: nothing is chosen on them.",
    ),
)  # fmt: skip

BY_NAME: Mapping[str, Item] = {item.name: item for item in ITEMS}
