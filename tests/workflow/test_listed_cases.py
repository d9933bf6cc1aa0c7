import pytest

from scripts.workflow import listed_cases


@pytest.mark.parametrize(("part", "computed"), [(0, []), (1, [0, 1, 2]), (0.34, [2]), (0.67, [1, 2])])
def test_the_maps_of_a_part_of_the_cases_are_set_aside(part, computed, dataset_dir):
    cases = listed_cases(dataset_dir / "datalist.json", "training", dataset_dir, part)
    given = listed_cases(dataset_dir / "datalist.json", "training", dataset_dir)
    assert [case["case"] for case in cases] == ["case_0", "case_1", "case_2"]
    for index, (case, whole) in enumerate(zip(cases, given, strict=True)):
        if index in computed:
            assert not {"cbf", "cbv", "mtt", "tmax"} & set(case)
            assert case["image"] == whole["image"]
        else:
            assert case == whole


@pytest.mark.parametrize("part", [-0.1, 1.5])
def test_a_part_is_between_none_and_all(part, dataset_dir):
    with pytest.raises(ValueError, match=r"computed_maps: expected a part in \[0, 1\], got"):
        listed_cases(dataset_dir / "datalist.json", "training", dataset_dir, part)
