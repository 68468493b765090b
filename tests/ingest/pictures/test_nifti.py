"""NIfTI volumes, against nibabel."""

import gzip
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.catalogue import read_catalogue
from ingest.errors import InputError
from ingest.pictures.nifti import check_nifti, read_nifti
from ingest.pictures.pixels import count_frames, read_frames, read_image, read_values
from ingest.run import ingest
from ingest.workspace import Workspace

nibabel: Any = import_module("nibabel")  # it has few types
VALUES = np.random.default_rng(0).integers(-1000, 2000, (5, 6, 7)).astype(np.int16)
AFFINE = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, 20], [0, 0, 3, -5], [0, 0, 0, 1]])


@pytest.fixture(params=["a.nii", "a.nii.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.header.set_slope_inter(2, -10)
    place = tmp_path / str(request.param)
    nibabel.save(image, place)
    return place


def test_values_and_affine_are_nibabel_s(path: Path) -> None:
    values, affine = read_nifti(path)
    expected = nibabel.load(path)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected.get_fdata())
    np.testing.assert_allclose(affine, expected.affine)
    assert check_nifti(path) == ((5, 6, 7), (1.5, 2.0, 3.0))


@pytest.mark.parametrize(("unit", "mm"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)])
def test_lengths_are_brought_to_millimetres(tmp_path: Path, unit: str, mm: float) -> None:
    image = nibabel.Nifti1Image(VALUES, AFFINE)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_nifti(tmp_path / "a.nii")[1], np.diag([mm, mm, mm, 1]) @ AFFINE)
    assert check_nifti(tmp_path / "a.nii")[1] == pytest.approx((1.5 * mm, 2 * mm, 3 * mm))


@pytest.mark.parametrize("more", [(2,), (2, 1), (1, 1)])
@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_of_further_axes_the_first_volume_is_read(tmp_path: Path, more: tuple[int, ...], kind: type) -> None:
    several = np.stack([VALUES, VALUES + 1], -1)[..., : more[0]].reshape(*VALUES.shape, *more).astype(kind)
    nibabel.save(nibabel.Nifti1Image(several, AFFINE), tmp_path / "a.nii")
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii")[0], VALUES)


def test_the_third_axis_holds_the_frames(path: Path) -> None:
    values = read_nifti(path)[0]
    assert count_frames(path) == 7
    np.testing.assert_array_equal(read_values(path), np.moveaxis(values, 2, 0))
    np.testing.assert_array_equal(read_values(path, frames=[3]), np.moveaxis(values, 2, 0)[[3]])
    np.testing.assert_array_equal(read_frames(path), nibabel.load(path).dataobj.get_unscaled())
    shown = read_image(path, 2)
    np.testing.assert_allclose(shown, (values[:, ::-1, 2].T - values.min()) / (values.max() - values.min()), atol=1e-6)
    with pytest.raises(InputError, match="frame"):
        read_image(path, 7)


def test_what_is_cut_short_or_a_lie_is_refused(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    with pytest.raises(InputError):
        read_values(path)
    plain = gzip.decompress(content) if path.suffix == ".gz" else content
    for place, value in ((42, 30_000), (46, 30_000), (42, -1), (70, 128), (70, 32)):  # sizes; colours, complex
        lie = plain[:place] + value.to_bytes(2, "little", signed=True) + plain[place + 2 :]
        path.write_bytes(gzip.compress(lie) if path.suffix == ".gz" else lie)
        with pytest.raises(InputError) as error:
            read_values(path)
        assert "\n" not in str(error.value)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    """FAULTS 25: nothing is inflated that the header does not promise, and it may not promise too much."""
    plain = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), AFFINE).to_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(plain + bytes(1 << 26)))
    np.testing.assert_array_equal(read_values(tmp_path / "a.nii.gz"), 0)
    big = plain[:42] + b"".join(n.to_bytes(2, "little") for n in (8000, 8000, 8000)) + plain[48:]
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(big))
    with pytest.raises(InputError, match="at most"):
        read_values(tmp_path / "b.nii.gz")


def test_a_volume_that_a_table_names_is_read_in(path: Path, workspace: Workspace) -> None:
    (path.parent / "scans.csv").write_text(f"patient,file\n1,{path.name}\n")
    mapping = path.parent / "mapping.yaml"
    mapping.write_text(
        "files: [{path: scans.csv, subject: {column: patient, issuer: x}, columns: [{code: SCAN, asset: '{file}'}]}]"
    )
    account = ingest(workspace, [path, path.parent / "scans.csv"], mapping=mapping)
    assert account.total.refused == 0
    (entry,) = read_catalogue(workspace.images).to_pylist()
    assert (entry["kind"], entry["rows"], entry["columns"], entry["frames"]) == ("volume", 5, 6, 7)
    assert (entry["spacing_mm"], entry["thickness_mm"]) == ([1.5, 2.0], 3.0)
