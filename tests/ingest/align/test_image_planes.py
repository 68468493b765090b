"""Flat images: the fast road shows what the general one shows, at the spacing, window and box that a task asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless

from ingest.align.dicom_frame import grey_frame, parse_dicom, stored_frame
from ingest.align.image_files import Fault, File, ImageJob, Wanted, load_image
from ingest.align.image_planes import Shown, fitted, read_shown
from ingest.errors import InputError
from ingest.pictures.pixels import read_frames, read_image

Write = Callable[..., Path]
RNG = np.random.default_rng(0)
DEEP = np.add.outer(np.arange(60) * 30, np.arange(50) * 40).astype(np.uint16)  # up to 3730


def shown_by_both(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The image at its own size on the road that alignment takes, and as `read_image` gives it."""
    shown, general = read_shown(path, path.read_bytes()), read_image(path)
    planes = [general] if general.ndim == 2 else list(np.moveaxis(general, 2, 0))
    shape = general.shape[:2]
    return fitted(shown, shape, len(planes)), fitted(Shown(planes), shape, len(planes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": 1500, "WindowWidth": 1000, "RescaleSlope": 2, "RescaleIntercept": -500},
        {"WindowCenter": [1500, 3], "WindowWidth": [1000, 4], "PhotometricInterpretation": "MONOCHROME1"},
        {"WindowCenter": 1500, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1500, "WindowWidth": 1000, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": 1500, "WindowWidth": 1},
        {"RescaleSlope": -1, "RescaleIntercept": 4000},
        {"PixelPaddingValue": 0},
        {"BitsStored": 12, "HighBit": 11},
        {"BitsStored": 10, "HighBit": 9},  # a bit beyond those stored is set
        {"PixelRepresentation": 1, "WindowCenter": 100, "WindowWidth": 2000},
    ],
)
def test_the_fast_road_shows_what_the_general_reader_shows(
    tmp_path: Path, write_dicom: Write, changes: dict[str, Any]
) -> None:
    """FAULTS 21 among them: MONOCHROME1 is inverted once."""
    fast, general = shown_by_both(write_dicom(tmp_path / "a.dcm", DEEP, **changes))
    assert np.abs(fast - general).max() < 1e-5


@pytest.mark.parametrize(
    "pixels", [DEEP.astype(np.uint8), np.full((9, 9), 7, np.uint16), np.stack([DEEP.astype(np.uint8)] * 3, 2)]
)
def test_eight_bits_flat_images_and_colours_too(tmp_path: Path, write_dicom: Write, pixels: np.ndarray) -> None:
    fast, general = shown_by_both(write_dicom(tmp_path / "a.dcm", pixels))
    assert np.abs(fast - general).max() < 1e-5


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("signed", [0, 1])
def test_compressed_frames_are_what_pydicom_decodes(
    tmp_path: Path, write_dicom: Write, syntax: str, bits: int, signed: int
) -> None:
    plain = (DEEP.astype(np.int32) - 2000 * signed).astype(np.int16 if signed else np.uint16)
    path = write_dicom(
        tmp_path / "a.dcm", DEEP, PixelData=np.stack([plain, plain[::-1]]).tobytes(), NumberOfFrames=2,
        BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed,
    )  # fmt: skip
    made = pydicom.dcmread(path)
    made.compress(syntax)
    made.save_as(path)
    dicom = parse_dicom(path, path.read_bytes())
    for frame in (0, 1):
        expected = read_frames(path, frames=[frame])[0]
        assert np.array_equal(stored_frame(dicom, frame), expected)
        fast = grey_frame(dicom, frame)
        assert fast is None or np.array_equal(fast, expected)


def wanted(**more: Any) -> Wanted:
    asked = {
        "shape": (20, 20), "channels": 1, "spacing_mm": None, "orientation": "LPS", "intensity": None, "box": "none",
        "eight_bits": False, **more,
    }  # fmt: skip
    return Wanted(**asked)


def loaded(path: Path, mask: Path | None = None, frame: int = 0, **more: Any) -> np.ndarray:
    found = load_image(
        ImageJob((File(str(path), None),), wanted(**more), frame, None if mask is None else File(str(mask), None))
    )
    assert isinstance(found, np.ndarray), found
    return found.astype(np.float64)


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagerPixelSpacing"])
def test_a_stated_spacing_is_reached_in_mm(tmp_path: Path, write_dicom: Write, keyword: str) -> None:
    rows, columns = np.meshgrid(np.arange(60), np.arange(50), indexing="ij")
    square = ((abs(rows - 29.5) < 15) & (abs(columns - 24.5) < 7.5)).astype(np.uint16) * 1000  # 30 x 14 mm
    path = write_dicom(tmp_path / "a.dcm", square, **{keyword: [1, 1]})
    path_flat = write_dicom(tmp_path / "b.dcm", square, **{keyword: [0.5, 1]})
    made = loaded(path, spacing_mm=(3.0, 3.0))[0]
    assert np.allclose(np.flatnonzero(made[:, 10] > 0.5), np.arange(5, 15))
    assert made.sum() * 9 == pytest.approx(30 * 14, rel=0.02)
    assert loaded(path_flat, spacing_mm=(3.0, 3.0))[0].sum() * 9 == pytest.approx(15 * 14, rel=0.02)


def test_without_a_spacing_in_the_file_it_is_refused(tmp_path: Path, write_dicom: Write) -> None:
    for path in (write_dicom(tmp_path / "a.dcm"), tmp_path / "a.png"):
        if path.suffix == ".png":
            Image.new("L", (8, 8)).save(path)
        found = load_image(ImageJob((File(str(path), None),), wanted(spacing_mm=(1.0, 1.0))))
        assert isinstance(found, Fault)
        assert found.short == "Pixel Spacing: expected Pixel Spacing or Imager Pixel Spacing, for spacing_mm, got none"


def test_intensity_is_in_modality_values_and_goes_before_the_window(tmp_path: Path, write_dicom: Write) -> None:
    flat = np.full((20, 20), 1100, np.uint16)
    changes = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 5, "WindowWidth": 10}
    path = write_dicom(tmp_path / "a.dcm", flat, **changes)
    assert np.allclose(loaded(path, intensity=(0.0, 4000.0)), 0.3, atol=1e-3)
    dark = write_dicom(tmp_path / "b.dcm", flat, PhotometricInterpretation="MONOCHROME1", **changes)
    assert np.allclose(loaded(dark, intensity=(0.0, 4000.0)), 0.7, atol=1e-3)
    Image.fromarray(np.full((20, 20), 51, np.uint8)).save(tmp_path / "c.png")
    assert np.allclose(loaded(tmp_path / "c.png", intensity=(0.0, 102.0)), 0.5, atol=1e-3)


def test_the_body_box_cuts_the_air_away(tmp_path: Path, write_dicom: Write) -> None:
    body = np.zeros((80, 60), np.uint16)
    body[20:60, 10:50] = 2000
    body[70:72, :30] = 1500  # a marker
    made = loaded(write_dicom(tmp_path / "a.dcm", body), box="body")[0]
    assert (made[1:-1, 1:-1] > 0.8).all()


def test_a_mask_of_another_size_crops_in_proportion(tmp_path: Path, write_dicom: Write) -> None:
    lungs = np.zeros((80, 60), np.uint16)
    lungs[20:60, 10:50] = 2000
    mask = np.zeros((40, 30), np.uint8)
    mask[10:30, 5:25] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    made = loaded(write_dicom(tmp_path / "a.dcm", lungs), tmp_path / "mask.png", box="mask")[0]
    assert made[2:-2, 2:-2].min() == 1
    assert 0.75 < (made > 0.5).mean() < 0.9  # the margin of a twentieth on each side


def test_each_frame_of_a_loop_is_an_element(
    tmp_path: Path, write_dicom: Write, people: Any, task_of: Any, aligned: Any
) -> None:
    import pyarrow as pa

    from ingest.catalogue import SCHEMA
    from ingest.files import sha256_of

    loop = np.stack([np.full((8, 8), level, np.uint8) for level in (51, 102, 153, 204)])
    path = write_dicom(tmp_path / "a.dcm", loop[0], NumberOfFrames=4, PixelData=loop.tobytes())
    digest = sha256_of(path)
    facts = [{"asset_sha256": digest, "asset": str(path), "kind": "image", "frames": 4, "modality": "US"}]
    rows = [*people(), {"subject": 1, "code": "US", "hours": 5, "asset": str(path), "asset_sha256": digest}]
    for rules in ([], [{"modality": "US"}]):
        stream = {"kind": "image", "codes": ["US"], "shape": [8, 8], "frames": "all", "max_images": 3, "series": rules}
        _, cohort = aligned(rows, task_of({"loop": stream}), catalogue=pa.Table.from_pylist(facts, schema=SCHEMA))
        values = cohort.batch([0]).streams["loop"].values[0, :, 0, 0, 0].numpy()
        assert np.allclose(values * 255, [102, 153, 204], atol=0.2)
        assert cohort.sources("loop")["element"].tolist() == [0, 1, 2]


def test_a_broken_header_is_left_to_the_general_reader(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", DEEP)
    whole = path.read_bytes()
    with pytest.raises(InputError):
        read_shown(path, whole[:200])
    with pytest.raises(InputError, match="Pixel Data"):
        read_shown(path, whole[:-10])
