"""Images altered for training: each by itself, within bounds, the same for the same seed."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from node.toolkit.altering import Alteration, erased, moved, scanned, ways_of  # noqa: E402

STILL = Alteration(turn_deg=0.0, move=0.0, stretch=0.0)
UNCHANGED = Alteration(sharpness=0.0, noise=0.0, gain=0.0, shift=0.0)


def blobs(count=64, size=24):
    image = torch.zeros(count, 2, size, size)
    image[:, :, 3:8, 4:12] = 0.7
    return image + 0.1


def test_what_is_drawn_for_one_image_is_not_drawn_for_another():
    torch.manual_seed(0)
    image = blobs()
    for way in (moved, scanned):
        found = way(image, Alteration())
        assert found.shape == image.shape
        assert not torch.equal(found[0], found[1])
    found = moved(image, Alteration())
    torch.testing.assert_close(found[:, 0], found[:, 1])  # channels lie on each other still


def test_the_same_seed_alters_the_same():
    image = blobs(4)
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        found.append(scanned(moved(image, Alteration()), Alteration()))
    assert torch.equal(*found)


def test_without_turning_and_moving_images_are_only_mirrored():
    torch.manual_seed(0)
    image = blobs()
    mirrored = [image[0], image[0].flip(1), image[0].flip(2), image[0].flip(1, 2)]

    kinds = [
        next(n for n, one in enumerate(mirrored) if torch.allclose(found, one, atol=1e-4))
        for found in moved(image, STILL)
    ]

    assert set(kinds) == {0, 1, 2, 3}


def test_turns_and_moves_keep_to_their_bounds():
    torch.manual_seed(0)
    ways = ways_of(4000, Alteration(turn_deg=20.0, move=0.1, stretch=0.05))

    size = torch.linalg.det(ways[:, :, :2]).abs().sqrt()
    assert 0.95 <= size.min() < 0.96 and 1.04 < size.max() <= 1.05
    turn = torch.rad2deg(torch.asin((ways[:, 1, 0] / size).abs()))
    assert 19 < turn.max() <= 20.001
    assert 0.19 < ways[:, :, 2].abs().max() <= 0.2001  # a side is 2 long here


def test_the_grey_scale_stays_between_0_and_1_and_is_the_same_without_alteration():
    torch.manual_seed(0)
    image = blobs()
    found = scanned(image, Alteration(gain=1.0, shift=0.5))
    assert found.min() == 0.0 and found.max() == 1.0
    torch.testing.assert_close(scanned(image, UNCHANGED), image)


def test_noise_is_as_strong_as_asked_for():
    torch.manual_seed(0)
    flat = torch.full((200, 1, 32, 32), 0.5)
    noise = Alteration(sharpness=0.0, noise=0.1, gain=0.0, shift=0.0)

    spread = (scanned(flat, noise) - flat).std(dim=(1, 2, 3))

    assert spread.min() < 0.01 and 0.08 < spread.max() < 0.105


def test_holes_are_as_many_and_as_large_as_asked_for_and_nothing_else_changes():
    torch.manual_seed(0)
    image = torch.full((2000, 2, 20, 30), 0.9)

    found = erased(image, chance=0.5, share=0.2)

    hole = found != 0.9
    assert torch.equal(hole[:, 0], hole[:, 1])  # the same place in all channels
    size = hole[:, 0].float().mean(dim=(1, 2))
    assert 0.44 < (size > 0).float().mean() < 0.54
    assert 0.15 < size.max() <= 0.25
    values = found[hole]
    assert values.min() >= 0.1 and values.max() <= 0.4
    assert torch.equal(erased(image, chance=0.0, share=0.2), image)
