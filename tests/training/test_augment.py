"""Augmentation does what it says, to every photograph its own, the same again for the same seed and step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from mirada.models.recipe import Augment

torch = pytest.importorskip("torch")

from mirada.training.augment import augment_batch, first_sides, views_for_tta  # noqa: E402
from mirada.training.colour import recoloured  # noqa: E402
from mirada.training.geometry import composed, identity, random_crops, rotations, warped  # noqa: E402
from mirada.training.randaugment import MOVES, OPERATIONS, TABLES, moves, operate, rand_augment  # noqa: E402

pytestmark = pytest.mark.train

OFF = Augment()
SIDE = 16


def photos(n: int = 8, side: int = SIDE, *, grey: bool = False, seed: int = 0) -> torch.Tensor:
    """uint8 (n, side, side, 3): blurred noise, each unlike the others."""
    rng = np.random.default_rng(seed)
    made = [
        np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))
        for small in rng.integers(0, 256, (n, max(3, side // 3), max(3, side // 3), 3), dtype=np.uint8)
    ]
    batch = np.stack(made)
    return torch.from_numpy(np.repeat(batch[..., :1], 3, axis=3) if grey else batch)


def augmented(
    images: torch.Tensor,
    plan: Augment,
    *,
    side: int = 0,
    seed: int = 0,
    step: int = 0,
    epoch: int = 0,
    n_classes: int = 8,
) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(len(images)) % n_classes
    return augment_batch(
        images, labels, plan, n_classes=n_classes, side=side or images.shape[1], seed=seed, step=step, epoch=epoch,
        rows=np.arange(len(images)) * 3,
    )  # fmt: skip


def plain(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float()


def test_off_is_the_plain_cast_to_the_bit() -> None:
    images = photos()
    x, targets = augmented(images, OFF)
    assert x.dtype == torch.float32
    assert torch.equal(x, plain(images))
    assert targets.tolist() == list(range(8))


plans = st.builds(
    Augment,
    flip=st.sampled_from(["none", "random", "alternating"]),
    translate=st.sampled_from([0.0, 0.1, 1.0]),
    rotate=st.sampled_from([0.0, 30.0, 180.0]),
    zoom=st.sampled_from([0.0, 0.5]),
    crop=st.sampled_from([1.0, 0.1]),
    colour=st.sampled_from([0.0, 0.8]),
    randaugment=st.integers(0, 3),
    magnitude=st.sampled_from([0.0, 9.0, 10.0]),
    erase=st.sampled_from([0.0, 0.3, 1.0]),
    mixup=st.sampled_from([0.0, 0.4]),
    cutmix=st.sampled_from([0.0, 1.0]),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    plan=plans,
    n=st.integers(1, 9),
    source=st.sampled_from([1, 7, 16, 20]),
    side=st.sampled_from([7, 16, 24]),
    step=st.integers(0, 99),
)
def test_any_plan_gives_pictures_and_shares_and_the_same_again(
    plan: Augment, n: int, source: int, side: int, step: int
) -> None:
    images = photos(n, source, grey=True)
    before = images.clone()
    x, targets = augmented(images, plan, side=side, step=step)
    assert x.shape == (n, 3, side, side)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(x.min()) <= float(x.max()) <= 255
    assert float((x - x[:, :1]).abs().max()) < 0.01, "a grey photograph got colours"
    assert torch.equal(images, before)
    if plan.mixup or plan.cutmix:
        assert targets.shape == (n, 8)
        torch.testing.assert_close(targets.sum(1), torch.ones(n))
    else:
        assert targets.dtype == torch.int64
    again = augmented(images, plan, side=side, step=step)
    assert torch.equal(x, again[0])
    assert torch.equal(targets, again[1])


@pytest.mark.parametrize(
    "plan",
    [
        Augment(flip="random"), Augment(flip="alternating"), Augment(translate=0.2), Augment(rotate=20.0),
        Augment(zoom=0.3), Augment(crop=0.4), Augment(colour=0.4), Augment(randaugment=2), Augment(erase=0.3),
        Augment(mixup=1.0), Augment(cutmix=1.0),
    ],
)  # fmt: skip
def test_other_seeds_steps_and_epochs_give_other_pictures(plan: Augment) -> None:
    images = photos(16)
    base = augmented(images, plan)[0]
    assert not torch.equal(base, plain(images))
    assert not torch.equal(base, augmented(images, plan, seed=1)[0])
    assert not torch.equal(base, augmented(images, plan, epoch=1)[0])
    steps_count = plan.flip != "alternating"
    assert torch.equal(base, augmented(images, plan, step=1)[0]) != steps_count


def test_flips_are_exact_mirrors_of_about_half() -> None:
    images = photos(200, 5)
    x = plain(images)
    for plan in (Augment(flip="random"), Augment(flip="alternating")):
        out = augmented(images, plan)[0]
        same = (out == x).flatten(1).all(1)
        mirrored = (out == x.flip(3)).flatten(1).all(1)
        assert bool((same ^ mirrored).all())
        assert 70 < int(mirrored.sum()) < 130


def test_alternating_flips_turn_each_epoch_and_belong_to_the_photograph() -> None:
    images, plan = photos(50, 6), Augment(flip="alternating")
    epochs = [augmented(images, plan, epoch=epoch, step=7 * epoch)[0] for epoch in range(4)]
    assert torch.equal(epochs[0], epochs[2])
    assert torch.equal(epochs[1], epochs[3])
    assert torch.equal(epochs[0], epochs[1].flip(3))
    order = np.random.default_rng(0).permutation(50)
    shuffled, _ = augment_batch(
        images[order], torch.zeros(50), plan, n_classes=2, side=6, seed=0, step=99, epoch=0, rows=order * 3
    )
    assert torch.equal(shuffled, epochs[0][order])


def test_first_sides_are_fair_and_unlike_between_seeds() -> None:
    rows = np.arange(20_000)
    one, other = first_sides(rows, 0), first_sides(rows, 1)
    for share in (one.mean(), other.mean(), (one == other).mean(), (one[1:] == one[:-1]).mean()):
        assert abs(share - 0.5) < 0.02


@pytest.mark.parametrize("flip", ["none", "random"])
def test_translations_are_whole_pixels_with_reflected_edges(flip: str) -> None:
    images = photos(60, 8)
    out = augmented(images, replace(OFF, translate=0.25, flip=flip))[0].permute(0, 2, 3, 1).byte().numpy()
    seen = set()
    for photo, got in zip(images.numpy(), out, strict=True):
        padded = np.pad(photo, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        found = [
            (top, left, turned)
            for turned, source in enumerate((padded, padded[:, ::-1]))
            for top in range(5)
            for left in range(5)
            if np.array_equal(source[top : top + 8, left : left + 8], got)
        ]
        assert len(found) == 1
        seen.update(found)
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(5))
    assert {turned for _, _, turned in seen} == ({0} if flip == "none" else {0, 1})


def test_quarter_turns_are_exact() -> None:
    images = photos(4)
    turned = warped(images, rotations(np.array([0.0, 90.0, 180.0, -90.0]), np.ones(4)), SIDE)
    for quarter, (got, want) in enumerate(zip(turned, plain(images), strict=True)):
        torch.testing.assert_close(got, torch.rot90(want, quarter, (1, 2)), atol=0.01, rtol=0)


def test_a_window_is_cut_where_it_lies() -> None:
    """The right upper quarter at its own scale; the same enlarged twice is what zoom does about the centre."""
    images = photos(2)
    quarter = np.tile(np.array([[0.5, 0, 0.5], [0, 0.5, -0.5]], np.float32), (2, 1, 1))
    cut = warped(images, quarter, SIDE // 2)
    torch.testing.assert_close(cut, plain(images)[:, :, :8, 8:], atol=0.01, rtol=0)
    middle = warped(images, rotations(np.zeros(2), np.full(2, 2.0)), SIDE // 2)
    torch.testing.assert_close(middle, plain(images)[:, :, 4:12, 4:12], atol=0.01, rtol=0)


def test_crop_then_turn_are_one() -> None:
    crops = random_crops(50, 0.3, np.random.default_rng(0))
    area = np.linalg.det(crops[:, :, :2])
    assert area.min() > 0.25
    assert area.max() <= 1
    corners = np.abs(crops[:, :, 2]) + crops[:, [0, 1], [0, 1]]
    assert corners.max() <= 1 + 1e-6
    assert np.allclose(composed(identity(50), crops), crops)
    turn = rotations(np.linspace(-40, 40, 50), np.linspace(0.5, 2, 50))
    point = np.array([0.3, -0.7, 1], np.float32)
    inner = np.concatenate([crops @ point, np.ones((50, 1), np.float32)], axis=1)
    assert np.allclose(composed(turn, crops) @ point, np.einsum("nij,nj->ni", turn, inner), atol=1e-5)


@pytest.mark.parametrize(
    "plan", [Augment(rotate=180.0), Augment(zoom=0.5, crop=0.2, rotate=10.0), Augment(translate=0.3), Augment(crop=0.1)]
)
@pytest.mark.parametrize("side", [8, 16, 40])
def test_an_even_photograph_stays_even(plan: Augment, side: int) -> None:
    values = torch.randint(0, 256, (12, 1, 1, 3), dtype=torch.uint8)
    images = values.expand(12, SIDE, SIDE, 3).contiguous()
    x = augmented(images, plan, side=side)[0]
    torch.testing.assert_close(x, plain(values).expand_as(x), atol=0.01, rtol=0)


@pytest.mark.parametrize("plan", [OFF, Augment(crop=0.999), Augment(rotate=0.001)])
def test_shrinking_smooths(plan: Augment) -> None:
    """Stripes finer than the small side's pixels become grey, not other stripes, with and without other geometry."""
    images = torch.zeros((3, 64, 64, 3), dtype=torch.uint8)
    images[:, :, ::2] = 255
    for side, most in ((32, 20.0), (16, 20.0), (20, 20.0)):
        x = augmented(images, plan, side=side)[0][:, :, 2:-2, 2:-2]
        assert float((x - 127.5).abs().max()) < most


def test_every_size_shows_the_same_picture() -> None:
    images = torch.nn.functional.interpolate(plain(photos(4, 3)), (48, 48), mode="bilinear")
    images = images.permute(0, 2, 3, 1).byte()
    reference = torch.nn.functional.avg_pool2d(plain(images), 6)
    for plan in (OFF, Augment(rotate=1e-4)):
        for side in (16, 24, 40, 96):
            x = augmented(images, plan, side=side)[0]
            small = torch.nn.functional.adaptive_avg_pool2d(x, 8)
            assert float((small - reference).abs().mean()) < 4


def test_erasing_paints_one_square_in_each() -> None:
    images = photos(30, 20)
    images[images == 128] = 127
    x = augmented(images, Augment(erase=0.25))[0]
    hidden = (x == 128).all(1)
    assert hidden.sum((1, 2)).tolist() == [25] * 30
    for mask in hidden:
        rows, columns = torch.nonzero(mask, as_tuple=True)
        assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 4
    kept = ~hidden[:, None].expand_as(x)
    assert torch.equal(x[kept], plain(images)[kept])
    assert len(torch.unique(hidden, dim=0)) > 20


def even(n: int) -> torch.Tensor:
    """Photograph i is wholly of the value 10 · i."""
    return (torch.arange(n, dtype=torch.uint8) * 10).view(n, 1, 1, 1).expand(n, 32, 32, 3).contiguous()


@pytest.mark.parametrize("plan", [Augment(mixup=1.0), Augment(cutmix=1.0), Augment(mixup=0.3, cutmix=0.7)])
def test_mixed_targets_agree_with_mixed_pixels(plan: Augment) -> None:
    """Each photograph's mean is what its targets say: of two photographs, by their shares."""
    values = torch.arange(12.0) * 10
    shares, kinds = set(), set()
    for step in range(30):
        x, targets = augmented(even(12), plan, step=step, n_classes=12)
        torch.testing.assert_close(x.mean((1, 2, 3)), targets @ values, atol=1e-3, rtol=1e-4)
        assert int((targets > 0).sum(1).max()) <= 2
        own = targets[torch.arange(12), torch.arange(12)]
        assert float(own.max() - own.min()) < 1e-6
        shares.add(round(float(own[0]), 4))
        n_values = [len(photo.unique()) for photo in x]
        if max(n_values) == 2:
            kinds.add("cutmix")
        elif 0 < float(own[0]) < 1:
            kinds.add("mixup")
    assert len(shares) > 15
    assert kinds == {name for name in ("mixup", "cutmix") if getattr(plan, name)}


def test_one_photograph_alone_is_mixed_with_nothing() -> None:
    images = photos(1)
    x, targets = augmented(images, Augment(mixup=1.0, cutmix=1.0))
    assert torch.equal(x, plain(images))
    assert targets.tolist() == [[1.0] + [0.0] * 7]


def operated(images: torch.Tensor, name: str, strength: float, sign: float = 1.0) -> np.ndarray:
    n, x = len(images), plain(images)
    operate(x, np.full(n, OPERATIONS.index(name)), np.full(n, strength), np.full(n, sign))
    assert x.is_contiguous(memory_format=torch.channels_last)
    return x.permute(0, 2, 3, 1).numpy()


def pillow(name: str, photo: Image.Image, strength: float, sign: float) -> Image.Image:
    factor = 1 + 0.9 * strength * sign
    made = {
        "autocontrast": lambda: ImageOps.autocontrast(photo),
        "equalize": lambda: ImageOps.equalize(photo),
        "posterize": lambda: ImageOps.posterize(photo, 4 - int(4 * strength)),
        "solarize": lambda: ImageOps.solarize(photo, 256 - int(256 * strength)),
        "solarize-add": lambda: photo.point(
            [min(255, i + int(110 * strength)) if i < 128 else i for i in range(256)] * 3
        ),
        "brightness": lambda: ImageEnhance.Brightness(photo).enhance(factor),
        "contrast": lambda: ImageEnhance.Contrast(photo).enhance(factor),
        "colour": lambda: ImageEnhance.Color(photo).enhance(factor),
        "sharpness": lambda: ImageEnhance.Sharpness(photo).enhance(factor),
    }
    return made[name]()


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in MOVES])
@pytest.mark.parametrize(("strength", "sign"), [(0.5, 1.0), (0.75, -1.0)])
def test_randaugments_colours_are_pillows(name: str, strength: float, sign: float) -> None:
    images = photos(5, 33) // 2 + 40  # contrast can be gained
    want = np.stack([np.asarray(pillow(name, Image.fromarray(one), strength, sign)) for one in images.numpy()])
    got = operated(images, name, strength, sign)
    if name == "autocontrast":  # Pillow cuts off the fraction of what comes of sums in another order
        np.testing.assert_allclose(got, want, atol=1.0)
        assert (got == want).mean() > 0.95
    elif name in TABLES:
        np.testing.assert_array_equal(got, want)
    else:  # Pillow rounds grey, mean and result to whole values
        np.testing.assert_allclose(got, want, atol=2.0)


def test_strange_photographs_pass_every_operation() -> None:
    """All of one value, of two values, of one pixel a side, black, white."""
    two = torch.zeros((1, 9, 9, 3), dtype=torch.uint8)
    two[0, 0, 0] = 255
    for images in (even(3), two, torch.full((1, 1, 1, 3), 77, dtype=torch.uint8), torch.full_like(two, 255)):
        for name in OPERATIONS:
            out = operated(images, name, 1.0)
            assert np.isfinite(out).all()
            assert 0 <= out.min() <= out.max() <= 255
    for name in ("autocontrast", "equalize"):
        np.testing.assert_array_equal(operated(even(3), name, 0.9), even(3).numpy())


def test_moves_go_as_far_as_they_say() -> None:
    n = len(MOVES)
    affine = moves(np.arange(n), np.full(n, 1.0))
    assert np.allclose(affine[0, :, :2], [[np.cos(np.pi / 6), -0.5], [0.5, np.cos(np.pi / 6)]])
    assert np.allclose(affine[1:, :, :] - identity(n - 1), [
        [[0, 0.3, 0], [0, 0, 0]], [[0, 0, 0], [0.3, 0, 0]], [[0, 0, 0.9], [0, 0, 0]], [[0, 0, 0], [0, 0, 0.9]],
    ])  # fmt: skip
    images = photos(3, 20)
    moved = operated(images, "translate-x", 1.0)
    np.testing.assert_allclose(moved[:, :, :11], images.numpy()[:, :, 9:], atol=0.01)


def test_an_operation_touches_only_those_that_drew_it() -> None:
    images = photos(len(OPERATIONS) + 1)
    which = np.array([*range(len(OPERATIONS)), -1])
    together = plain(images)
    operate(together, which, np.full(len(which), 0.8), np.ones(len(which)))
    for i, name in enumerate(OPERATIONS):
        alone = operated(images[i : i + 1], name, 0.8)[0]
        np.testing.assert_allclose(together[i].permute(1, 2, 0).numpy(), alone, atol=1e-3)
    assert torch.equal(together[-1], plain(images)[-1])


def test_randaugment_draws_every_operation_and_spares_half() -> None:
    images = photos(1, 12).expand(800, 12, 12, 3).contiguous()
    x = rand_augment(plain(images), n_operations=1, magnitude=9.0, rng=np.random.default_rng(0))
    n_same = int((x == plain(images)).flatten(1).all(1).sum())
    assert 340 < n_same < 460
    weak = rand_augment(plain(images), n_operations=1, magnitude=1.0, rng=np.random.default_rng(0))
    moved = (x - plain(images)).abs().mean(), (weak - plain(images)).abs().mean()
    assert moved[0] > 1.3 * moved[1] > 0


def test_colour_factors_of_one_change_nothing_and_each_does_its_part() -> None:
    x = plain(photos(6))
    one, half = torch.ones(6), torch.full((6,), 0.5)
    torch.testing.assert_close(recoloured(x, one, one, one), x, atol=1e-3, rtol=0)
    torch.testing.assert_close(recoloured(x, half, one, one), x / 2, atol=1e-3, rtol=0)
    grey = recoloured(x, one, one, torch.zeros(6))
    torch.testing.assert_close(grey[:, 0], grey[:, 1], atol=1e-3, rtol=0)
    flat = recoloured(x, one, torch.zeros(6), one)
    assert float(flat.std((1, 2, 3)).max()) < 1e-3


def test_what_one_change_draws_does_not_move_with_another() -> None:
    """So that recipes that differ in one thing can be compared."""
    images = photos(20)
    flips = augmented(images, Augment(flip="random"))[0]
    both = augmented(images, Augment(flip="random", erase=0.25))[0]
    kept = (both != 128).all(1, keepdim=True).expand_as(both)
    assert torch.equal(both[kept], flips[kept])


def test_views_are_the_photograph_and_its_mirror() -> None:
    x = plain(photos(3))
    for source in (x, x.contiguous()):
        as_is, mirrored = views_for_tta(source)
        assert torch.equal(as_is, x)
        assert torch.equal(mirrored, x.flip(3))
        assert mirrored.is_contiguous(memory_format=torch.channels_last)
