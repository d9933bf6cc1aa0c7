import numpy as np
import pytest
import torch
from monai.transforms import Compose, Lambdad, RandFlipd, RandRotated

from scripts.transforms import CasePreprocessing, LesionAttentionMapd
from scripts.workflow.slice_dataset import SliceDataset, SliceSampler
from scripts.workflow.volume_dataset import VolumeDataset

KEYS = ("image", "label", "dwi")


@pytest.fixture
def cases(write_case):
    return [write_case(f"case_{i}", shape=(32, 32, 2 + i), seed=i, dwi=i == 0) for i in range(2)]


def dataset(kind, cases, slice_transform=None, **arguments):
    return kind(cases, CasePreprocessing(KEYS, size=32), slice_transform, num_workers=1, progress=False, **arguments)


def test_volumes_are_the_slices_stacked(cases):
    volumes, slices = dataset(VolumeDataset, cases), dataset(SliceDataset, cases)
    assert len(volumes) == 2
    assert volumes[1]["image"].shape == (11, 32, 32, 3)
    assert volumes[1]["has_dwi"].tolist() == [False] * 3
    stacked = [slices[i] for i in range(len(slices))]
    for name in (*KEYS, "has_dwi"):
        parts = torch.cat([volumes[i][name] for i in range(2)], dim=-1)
        assert torch.equal(parts, torch.stack([part[name] for part in stacked], dim=-1))


def test_one_draw_transforms_all_slices(cases):
    augmentation = Compose(
        [
            RandFlipd(KEYS, prob=0.5, spatial_axis=0),
            RandRotated(KEYS, range_x=0.5, prob=1.0, mode="nearest"),
            LesionAttentionMapd(),
        ]
    )
    alike = Compose([CasePreprocessing(KEYS, size=32), Lambdad("image", lambda x: x[..., :1].expand_as(x).clone())])
    volumes = VolumeDataset(cases, alike, augmentation, num_workers=1, progress=False)
    draws = [volumes[(epoch, 1)]["image"] for epoch in range(4)]
    for image in draws:  # all slices were alike before, and are so after
        assert torch.equal(image, image[..., :1].expand_as(image))
    assert len({tuple(image[0, :, :, 0].flatten().tolist()) for image in draws}) == 4
    assert torch.equal(volumes[(2, 1)]["image"], draws[2])
    assert volumes[(0, 1)]["attention"].shape == (1, 32, 32, 3)
    assert type(volumes[(0, 1)]["attention"]) is torch.Tensor


def test_draws_depend_on_seed_epoch_and_case_alone(cases):
    def noise(case, epoch, seed, cache_rate=1.0):
        noisy = Compose([RandRotated(KEYS, range_x=3.0, prob=1.0, mode="nearest")])
        return dataset(VolumeDataset, cases, noisy, seed=seed, cache_rate=cache_rate)[(epoch, case)]["label"].numpy()

    assert np.array_equal(noise(0, 3, 1), noise(0, 3, 1, cache_rate=0.0))
    assert not np.array_equal(noise(0, 3, 1), noise(0, 3, 2))


def test_sampler_permutes_the_cases(cases):
    sampler = SliceSampler(dataset(VolumeDataset, cases))
    sampler.set_epoch(4)
    assert sorted(sampler) == [(4, 0), (4, 1)]
