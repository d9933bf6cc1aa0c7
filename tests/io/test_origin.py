import hashlib

from scripts.io.origin import is_other, origin


def test_a_series_is_the_same_by_its_path_or_by_its_bytes(tmp_path):
    first, copy, other = (tmp_path / name for name in ("a.nii", "copy.nii", "other.nii"))
    first.write_bytes(b"one")
    copy.write_bytes(b"one")
    other.write_bytes(b"two")
    link = tmp_path / "link.nii"
    link.symlink_to(first)
    recorded = origin(first)
    assert recorded == {"path": str(first.resolve()), "sha256": hashlib.sha256(b"one").hexdigest()}
    assert [is_other(recorded, path) for path in (first, link, copy, other)] == [False, False, False, True]
    first.write_bytes(b"a scan that was exported again")
    assert not is_other(recorded, first)
    assert not is_other(None, other)
