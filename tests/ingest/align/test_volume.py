"""DICOM series, enhanced objects and NIfTI files to volumes, against analytic phantoms and nibabel."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow as pa
import pytest
from nibabel.processing import resample_from_to
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from ingest.align.image_files import Fault, File, ImageJob, Wanted, load_image
from ingest.catalogue import SCHEMA
from ingest.files import sha256_of

SPACING, PIXEL = 2.5, (0.8, 0.6)  # between slices; between rows, between columns
ROWS, COLUMNS, COUNT = 40, 48, 16
AXIAL = np.array([[1.0, 0, 0], [0, 1, 0]])
SAGITTAL = np.array([[0, 1.0, 0], [0, 0, -1]])
TOWARDS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}

Field = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def ramp(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Hounsfield units that grow in all directions, each at its own rate."""
    return 20 + 6 * x - 9 * y + 4 * z


def ball(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A ball of 9 mm of 500 in air, around (3, -2, 4)."""
    return np.where((x - 3) ** 2 + (y + 2) ** 2 + (z - 4) ** 2 < 81, 500.0, -1000.0)


def points(cosines: np.ndarray, count: int = COUNT) -> np.ndarray:
    """(count, ROWS, COLUMNS, 3) where the voxels of a stack around the origin lie."""
    row, column = cosines
    k, j, i = np.meshgrid(
        (np.arange(count) - (count - 1) / 2) * SPACING,
        (np.arange(ROWS) - (ROWS - 1) / 2) * PIXEL[0],
        (np.arange(COLUMNS) - (COLUMNS - 1) / 2) * PIXEL[1],
        indexing="ij",
    )
    return k[..., None] * np.cross(row, column) + j[..., None] * column + i[..., None] * row


def dataset(pixels: np.ndarray, cosines: np.ndarray, position: np.ndarray, **more: Any) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
    made.PatientID, made.Modality = "1", "CT"
    made.Rows, made.Columns = pixels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.RescaleSlope, made.RescaleIntercept = 0.5, -2000
    made.ImagePositionPatient, made.ImageOrientationPatient = position.tolist(), cosines.ravel().tolist()
    made.PixelSpacing, made.FrameOfReferenceUID = list(PIXEL), "1.2.3"
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    for keyword, value in more.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def stored(values: np.ndarray) -> np.ndarray:
    return np.rint((values + 2000) / 0.5).astype(np.uint16)


def write_series(
    folder: Path, field: Field = ramp, cosines: np.ndarray = AXIAL, leave_out: Sequence[int] = (), **more: Any
) -> list[Path]:
    """A file per slice, named in an order that is not that of the slices."""
    folder.mkdir(parents=True, exist_ok=True)
    at = points(cosines)
    paths = []
    for number in sorted(set(range(COUNT)) - set(leave_out), key=lambda n: (n * 7) % COUNT):
        slice_at = at[number]
        made = dataset(stored(field(*np.moveaxis(slice_at, -1, 0))), cosines, slice_at[0, 0], **more)
        made.InstanceNumber = 100 - number
        paths.append(folder / f"{len(paths):03d}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    return paths


def job(paths: Sequence[Path], mask: Path | None = None, **more: Any) -> ImageJob:
    asked = {
        "shape": (10, 12, 14), "channels": 1, "spacing_mm": (2.0, 2.0, 2.0), "orientation": "LPS",
        "intensity": (-1000.0, 1000.0), "box": "none", "eight_bits": False, **more,
    }  # fmt: skip
    files = tuple(File(str(path), sha256_of(path), path.stem) for path in paths)
    return ImageJob(files, Wanted(**asked), mask=None if mask is None else File(str(mask), None))


def volume(paths: Sequence[Path], **more: Any) -> np.ndarray:
    found = load_image(job(paths, **more))
    assert isinstance(found, np.ndarray), found
    return found.astype(np.float64)


def fault(paths: Sequence[Path], **more: Any) -> Fault:
    found = load_image(job(paths, **more))
    assert isinstance(found, Fault)
    return found


def grid(orientation: str, shape: Sequence[int] = (10, 12, 14), spacing: float = 2.0) -> np.ndarray:
    """(*shape, 3) where the voxels of a tensor around the origin lie, by the definition in docs/tasks.md."""
    width, height, depth = (np.array(TOWARDS[letter]) for letter in orientation)
    d, h, w = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * spacing for n in shape], indexing="ij")
    return d[..., None] * depth + h[..., None] * height + w[..., None] * width


HALF = 2000 * 2.0**-11  # of the last bit of a float16 near 1, in Hounsfield units


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LIP", "PIL", "SRA", "AIR"])
@pytest.mark.parametrize("cosines", [AXIAL, SAGITTAL])
def test_every_voxel_of_a_ramp_has_the_value_of_its_place_in_the_patient(
    tmp_path: Path, cosines: np.ndarray, orientation: str
) -> None:
    made = volume(write_series(tmp_path, cosines=cosines), orientation=orientation)[0] * 2000 - 1000
    expected = ramp(*np.moveaxis(grid(orientation), -1, 0))
    assert np.abs(made - expected).max() < HALF + 0.3  # and half a stored unit


def test_a_ball_keeps_its_place_and_its_volume_in_mm(tmp_path: Path) -> None:
    shape = (24, 24, 24)
    made = volume(write_series(tmp_path, ball), shape=shape, spacing_mm=(1.5, 1.5, 1.5), intensity=(-1000.0, 500.0))[0]
    places = grid("LPS", shape, 1.5)
    assert np.allclose((places * made[..., None]).sum((0, 1, 2)) / made.sum(), [3, -2, 4], atol=0.1)
    assert made.sum() * 1.5**3 == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.03)


def test_nifti_agrees_with_nibabel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    affine = np.array([[0, 0, 2.0, -30], [-2, 0, 0, 25], [0, 2, 0, -20], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(rng.random((20, 22, 24)).astype(np.float32), affine)
    nibabel.save(image, tmp_path / "a.nii.gz")
    made = volume([tmp_path / "a.nii.gz"], shape=(22, 20, 24), orientation="RAS", intensity=(0.0, 1.0))[0]
    closest = nibabel.as_closest_canonical(image)
    assert np.allclose(made, np.transpose(closest.get_fdata(), (2, 1, 0)), atol=1e-3)
    # Finer than the file: linear interpolation, as nibabel's own of order 1.
    middle = closest.affine[:3, :3] @ ((np.array(closest.shape) - 1) / 2) + closest.affine[:3, 3]
    wanted = np.diag([1.0, 1.0, 1.0, 1.0])
    wanted[:3, 3] = middle - 8.5
    fine = volume(
        [tmp_path / "a.nii.gz"], shape=(18,) * 3, orientation="RAS", spacing_mm=(1.0,) * 3, intensity=(0.0, 1.0)
    )
    expected = resample_from_to(closest, ((18,) * 3, wanted), order=1).get_fdata()
    assert np.allclose(fine[0], np.transpose(expected, (2, 1, 0)), atol=1e-3)


LEAN = np.array([0.6, -1.2, 0])  # mm from slice to slice: a gantry tilted by 28 degrees


@pytest.mark.parametrize("cosines", [AXIAL, SAGITTAL])
def test_a_tilted_gantry_is_put_straight(tmp_path: Path, cosines: np.ndarray) -> None:
    lean = LEAN[0] * cosines[0] + LEAN[1] * cosines[1]
    paths = []
    for number, slice_at in enumerate(points(cosines)):
        at = slice_at + (number - (COUNT - 1) / 2) * lean
        made = dataset(stored(ramp(*np.moveaxis(at, -1, 0))), cosines, at[0, 0])
        paths.append(tmp_path / f"{number}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    small = (6, 6, 6)  # of which every slice holds its part
    made_of = volume(paths, shape=small)[0] * 2000 - 1000
    assert np.abs(made_of - ramp(*np.moveaxis(grid("LPS", small), -1, 0))).max() < HALF + 0.5


def test_slices_that_are_shifted_without_a_rule_are_refused(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    import pydicom

    made = pydicom.dcmread(paths[5])
    made.ImagePositionPatient = [made.ImagePositionPatient[0] + 4, *made.ImagePositionPatient[1:]]
    made.save_as(paths[5])
    assert "slices above each other, or each shifted like the last, got another shift after slice" in fault(paths).short


def test_a_sheared_nifti_is_put_straight(tmp_path: Path) -> None:
    affine = np.array([[-1.0, 0, 0.3, 0], [0, -1, -0.4, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    middle = affine[:3, :3] @ np.array([19.5, 19.5, 7.5])
    affine[:3, 3] = -middle
    at = np.stack(np.meshgrid(np.arange(40), np.arange(40), np.arange(16), indexing="ij"), -1) @ affine[:3, :3].T
    at = (at - middle) * [-1, -1, 1]  # to L, P, S
    nibabel.save(nibabel.Nifti1Image(ramp(*np.moveaxis(at, -1, 0)).astype(np.float32), affine), tmp_path / "a.nii")
    made = volume([tmp_path / "a.nii"])[0] * 2000 - 1000
    assert np.abs(made - ramp(*np.moveaxis(grid("LPS"), -1, 0))).max() < HALF + 0.5


def test_what_lies_outside_of_the_volume_is_zero(tmp_path: Path) -> None:
    made = volume(write_series(tmp_path), shape=(40, 12, 14))[0]
    inside = np.abs(grid("LPS", (40, 12, 14))[:, 0, 0, 2]) <= COUNT * SPACING / 2
    assert not made[~inside].any()
    assert made[inside].all()


def test_without_a_spacing_all_of_it_fits_in_proportion(tmp_path: Path) -> None:
    made = volume(write_series(tmp_path, lambda x, y, z: 0 * x + 1000), shape=(16, 16, 16), spacing_mm=None)[0]
    extents = np.array([COUNT * SPACING, ROWS * PIXEL[0], COLUMNS * PIXEL[1]])  # 40, 32, 28.8 mm
    filled = [int((made.max(tuple({0, 1, 2} - {axis})) > 0.5).sum()) for axis in range(3)]
    assert np.allclose(filled, 16 * extents / extents.max(), atol=1)


def test_an_enhanced_object_says_where_each_frame_lies(tmp_path: Path) -> None:
    at = points(AXIAL)
    order = np.random.default_rng(0).permutation(COUNT)
    frames = np.stack([stored(ramp(*np.moveaxis(at[number], -1, 0))) for number in order])
    made = dataset(frames, AXIAL, at[0, 0, 0], NumberOfFrames=COUNT, SOPClassUID=EnhancedCTImageStorage)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        del made[keyword]
    shared, measures, turned, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, turned.ImageOrientationPatient = list(PIXEL), AXIAL.ravel().tolist()
    rescale.RescaleSlope, rescale.RescaleIntercept = 0.5, -2000
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([turned])
    shared.PixelValueTransformationSequence = Items([rescale])
    made.SharedFunctionalGroupsSequence, own = Items([shared]), []
    for number in order:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = at[number, 0, 0].tolist()
        group.PlanePositionSequence = Items([place])
        own.append(group)
    made.PerFrameFunctionalGroupsSequence = Items(own)
    made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    made.save_as(tmp_path / "whole.dcm", enforce_file_format=True)
    single = volume(write_series(tmp_path / "series"))
    assert np.array_equal(volume([tmp_path / "whole.dcm"]), single)


def test_compressed_slices_give_the_same_volume(tmp_path: Path) -> None:
    import pydicom

    paths = write_series(tmp_path / "plain")
    expected = volume(paths)
    for path in paths:
        made = pydicom.dcmread(path)
        made.compress(RLELossless)
        made.save_as(path)
    assert np.array_equal(volume(paths), expected)


def test_a_rescale_of_each_slice_is_applied_to_that_slice(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    expected = volume(paths)
    import pydicom

    for number, path in enumerate(paths):
        made = pydicom.dcmread(path)
        if number % 2:  # half of the slope on twice the numbers, as PET scanners choose them slice by slice
            made.RescaleSlope = 0.25
            made.PixelData = (np.frombuffer(made.PixelData, np.uint16) * 2).tobytes()
        made.save_as(path)
    assert np.array_equal(volume(paths), expected)


def test_monochrome1_is_inverted_once(tmp_path: Path) -> None:
    """FAULTS 21, through volumes."""
    bright = volume(write_series(tmp_path / "a"))
    for shape in ("INVERSE", "IDENTITY"):
        more = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": shape}
        assert np.allclose(volume(write_series(tmp_path / shape, **more)), 1 - bright, atol=1e-3)


def test_padding_counts_as_the_lowest_value(tmp_path: Path) -> None:
    paths = write_series(tmp_path, lambda x, y, z: np.where(x < 0, -2000.0, 100.0), PixelPaddingValue=0)
    assert np.allclose(volume(paths), (100 + 1000) / 2000, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "low", "high"),
    [
        ({"WindowCenter": 40, "WindowWidth": 401}, 39.5 - 200, 39.5 + 200),
        ({"WindowCenter": 40, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}, -160, 240),
    ],
)
def test_without_intensity_the_window_of_the_file_holds(
    tmp_path: Path, changes: dict[str, Any], low: float, high: float
) -> None:
    made = volume(write_series(tmp_path, **changes), intensity=None)
    expected = np.clip((ramp(*np.moveaxis(grid("LPS"), -1, 0)) - low) / (high - low), 0, 1)
    assert np.abs(made[0] - expected).max() < 2e-3


def test_mr_goes_by_percentiles_whatever_its_windows_say(tmp_path: Path) -> None:
    made = volume(write_series(tmp_path, Modality="MR", WindowCenter=1, WindowWidth=2), intensity=None)
    values = ramp(*np.moveaxis(grid("LPS"), -1, 0))
    low, high = np.percentile(values, (0.5, 99.5))
    assert np.abs(made[0] - np.clip((values - low) / (high - low), 0, 1)).max() < 3e-3


def test_the_body_fills_the_frame_and_the_table_does_not_count(tmp_path: Path) -> None:
    def body(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        inside = (x / 8) ** 2 + ((y + 4) / 6) ** 2 < 1
        return np.where(inside | ((y > 13) & (y < 14.5)), 0.0, -1000.0)

    whole = volume(write_series(tmp_path, body), spacing_mm=(2.0, 1.0, 1.0), shape=(16, 32, 32))[0]
    cropped = volume(write_series(tmp_path, body), spacing_mm=(2.0, 1.0, 1.0), shape=(16, 32, 32), box="body")[0]
    assert whole[:, 28:].max() > 0.3
    assert cropped[:, 28:].max() < 0.01
    columns = np.flatnonzero(cropped[8].max(0) > 0.25)
    rows = np.flatnonzero(cropped[8].max(1) > 0.25)
    assert abs(columns.mean() - 15.5) < 1
    assert abs(rows.mean() - 15.5) < 1.5  # its middle has come to the middle


def test_a_mask_in_another_grid_crops_to_its_place_in_mm(tmp_path: Path) -> None:
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # voxel axes to L and P, as indices grow
    affine[:3, 3] = [20, 20, -20]
    mask = np.zeros((41, 41, 21), np.uint8)
    mask[17:30, 12:25, 8:17] = 1  # x from -3.5 to 9.5, y from -8.5 to 4.5, z from -5 to 13 mm
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "mask.nii.gz")
    paths = write_series(tmp_path / "ct", ball)
    made = load_image(job(paths, tmp_path / "mask.nii.gz", box="mask", shape=(12, 12, 12), spacing_mm=(1.0,) * 3))
    assert isinstance(made, np.ndarray)
    middle = np.array([3.0, -2, 4])
    expected = np.sqrt(((grid("LPS", (12, 12, 12), 1.0) + middle - [3, -2, 4]) ** 2).sum(-1)) < 9
    assert ((made[0] > 0.4) == expected).mean() > 0.95
    empty = tmp_path / "empty.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask * 0, affine), empty)
    refused = load_image(job(paths, empty, box="mask"))
    assert isinstance(refused, Fault)
    assert "something above 0" in refused.short


def test_a_missing_slice_refuses_the_volume(tmp_path: Path) -> None:
    """FAULTS 22."""
    said = fault(write_series(tmp_path, leave_out=[9]))
    assert str(said.complaint) == (
        "series of 15 slices: expected a slice every 2.5 mm, got a gap of 5.0 mm after slice 9"
    )


def test_a_doubled_slice_refuses_the_volume(tmp_path: Path) -> None:
    """FAULTS 22."""
    paths = write_series(tmp_path)
    extra = tmp_path / "again.dcm"
    extra.write_bytes(paths[5].read_bytes())
    assert "two at one place" in fault([*paths, extra]).short


@pytest.mark.parametrize("cut", [100, 3000])
def test_a_truncated_slice_refuses_the_volume_and_is_named(tmp_path: Path, cut: int) -> None:
    """FAULTS 23, through volumes."""
    paths = write_series(tmp_path)
    paths[6].write_bytes(paths[6].read_bytes()[:-cut])
    said = fault(paths)
    assert said.complaint.record == "006"
    assert said.complaint.file == str(paths[6])
    assert "Pixel Data" in said.short
    assert str(tmp_path) not in said.short
    assert "\n" not in str(said.complaint)


def test_a_changed_slice_refuses_the_volume(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    asked = job(paths)
    paths[3].write_bytes(paths[3].read_bytes() + b"\0\0")
    said = load_image(asked)
    assert isinstance(said, Fault)
    assert "sha256: expected" in said.short
    assert said.complaint.record == "003"


@pytest.mark.parametrize("what", ["picture", "single slice", "sheared NIfTI"])
def test_what_is_no_volume_is_refused(tmp_path: Path, what: str) -> None:
    if what == "picture":
        from PIL import Image

        path = tmp_path / "a.png"
        Image.new("L", (8, 8)).save(path)
    elif what == "single slice":
        path = write_series(tmp_path)[0]
    else:
        path = tmp_path / "a.nii"
        affine = np.array([[1, 0.4, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        nibabel.save(nibabel.Nifti1Image(np.zeros((5, 5, 5), np.float32), affine), path)
    expected = ("a DICOM or NIfTI volume", "at least 2 slices", "rows and columns at right angles")
    assert fault([path]).complaint.expected in expected


def catalogue_of(series: dict[str, Sequence[Path]], **more: Any) -> pa.Table:
    rows = [
        {"asset_sha256": sha256_of(path), "asset": str(path), "kind": "image", "series": uid, "modality": "CT",
         "instance_number": n, **more.get(uid, {})}
        for uid, paths in series.items() for n, path in enumerate(paths)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def slice_rows(subject: int, paths: Sequence[Path], hours: float = 5) -> list[dict[str, Any]]:
    return [
        {"subject": subject, "code": "DICOM//CT", "hours": hours + 0.001 * n, "asset": str(path),
         "asset_sha256": sha256_of(path), "source_file": f"ct/{path.name}", "source_record": f"{path.parent.name}.{n}"}
        for n, path in enumerate(paths)
    ]  # fmt: skip


SCAN = {
    "kind": "image",
    "codes": ["DICOM//CT"],
    "shape": [10, 12, 14],
    "spacing_mm": [2, 2, 2],
    "intensity": [-1000, 1000],
}


def test_a_cohort_of_volumes_says_what_was_taken_what_was_refused_and_where_all_came_from(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 22: the case with the gap lacks the stream and says why; the others go on."""
    whole, gap = write_series(tmp_path / "a"), write_series(tmp_path / "b", leave_out=[4])
    scout = write_series(tmp_path / "c")[:1]
    catalogue = catalogue_of(
        {"1.1": whole, "1.2": gap, "1.3": scout}, **{"1.3": {"image_type": "ORIGINAL\\PRIMARY\\LOCALIZER"}}
    )
    rows = [*people(), *slice_rows(1, whole), *slice_rows(1, scout, 7), *slice_rows(2, gap)]
    report, cohort = aligned(rows, task_of({"scan": SCAN}), catalogue=catalogue)
    assert cohort.present[:3, 0].tolist() == [True, False, False]
    values = cohort.batch([0]).streams["scan"].values
    assert tuple(values.shape) == (1, 1, 1, 10, 12, 14)
    expected = ramp(*np.moveaxis(grid("LPS"), -1, 0))
    assert np.abs(values[0, 0, 0].numpy() * 2000 - 1000 - expected).max() < HALF + 0.3
    assert cohort.index["scan_note"].iat[0] == "series 1 of 1: the latest, 16 slices"
    assert (
        "15 slices: expected a slice every 2.5 mm, got a gap of 5.0 mm after slice 4"
        in cohort.index["scan_problem"].iat[1]
    )
    sources = cohort.sources("scan")
    assert sorted(sources["source_record"]) == sorted(f"a.{n}" for n in range(16))
    assert set(sources["element"]) == {0}
    stream = report.streams["scan"]
    assert stream.used == 16
    assert stream.left_out == {"in a volume that was refused": 15, "localizers": 1}
    assert len(stream.refusals) == 1
    assert stream.refusals[0].startswith(f"{gap[0]}, b.0, series of 15 slices: expected a slice every 2.5 mm")


def test_a_series_of_which_ingest_refused_a_slice_is_no_volume(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 22, at an end of the series, where no gap shows; once the slice has come the volume is whole."""
    paths = sorted(write_series(tmp_path), key=lambda p: float(_depth(p)))
    known = catalogue_of({"1.1": paths}, **{"1.1": {}}).to_pylist()
    for number, row in enumerate(known):
        row["instance"] = f"1.1.{number}"
    lost = {**known[-1], "asset_sha256": "refused 0", "kind": "refused"}
    catalogue = pa.Table.from_pylist([*known, lost, {**lost, "asset_sha256": "refused 1"}], schema=SCHEMA)
    _, cohort = aligned([*people(), *slice_rows(1, paths[:-1])], task_of({"scan": SCAN}), catalogue=catalogue)
    assert "series of 15 slices: expected all slices, got 1 that was refused" in cohort.index["scan_problem"].iat[0]
    _, cohort = aligned([*people(), *slice_rows(1, paths)], task_of({"scan": SCAN}), "whole", catalogue=catalogue)
    assert cohort.present[0, 0]


def test_a_refused_image_named_after_a_person_is_told_of_without_the_name(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 37: a gap, a slice cut short, a file that is gone."""
    gap, cut = (write_series(tmp_path / name / "s", leave_out=[4]) for name in ("Kanari_Berta", "KANARI^ANNA 19600517"))
    rows = [*people(), *slice_rows(1, gap), *slice_rows(2, cut), *slice_rows(3, gap[:1])]
    for path in cut:
        path.write_bytes(path.read_bytes()[:-900])
    flat = {"kind": "image", "codes": ["DICOM//CT"], "shape": [8, 8]}
    catalogue = catalogue_of({"1.1": gap, "1.2": cut})
    report, cohort = aligned(rows, task_of({"scan": SCAN, "flat": flat}), catalogue=catalogue)
    assert len(report.streams["scan"].refusals) == 3
    assert len(report.streams["flat"].refusals) == 1
    assert "kanari" not in f"{report} {cohort.index.to_csv()}".lower()
    assert not cohort.index["flat_problem"].iat[1].startswith(":")


def test_a_volume_is_as_old_as_its_latest_slice_and_never_holds_a_later_one(
    tmp_path: Path, people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 8, slice by slice."""
    paths = sorted(write_series(tmp_path / "a"), key=lambda p: float(_depth(p)))
    rows = [*people(), *slice_rows(1, paths[:12], 20), *slice_rows(1, paths[12:], 30)]
    report, cohort = aligned(rows, task_of({"scan": SCAN}), catalogue=catalogue_of({"1.1": paths}))
    assert cohort.index["scan_note"].iat[0].endswith("12 slices")
    assert cohort.batch([0]).streams["scan"].hours[0, 0] == pytest.approx(-4 + 0.011, abs=1e-4)
    assert report.streams["scan"].left_out == {"measured after the index time": 4}


def _depth(path: Path) -> float:
    import pydicom

    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])
