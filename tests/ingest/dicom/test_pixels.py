"""Stored pixels and modality values of DICOM objects, against pydicom and plain formulas."""

import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless

from ingest.dicom.frames import read_geometry
from ingest.errors import InputError
from ingest.pictures.pixels import count_frames, read_frames, read_image, read_values

Write = Callable[..., Path]
FRAMES = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)


def write_frames(path: Path, write_dicom: Write, frames: np.ndarray = FRAMES, **changes: object) -> Path:
    return write_dicom(path, frames[0], **{"NumberOfFrames": len(frames), "PixelData": frames.tobytes(), **changes})


def test_frames_are_chosen_and_ordered_as_asked(tmp_path: Path, write_dicom: Write) -> None:
    path = write_frames(tmp_path / "a.dcm", write_dicom)
    np.testing.assert_array_equal(read_frames(path), FRAMES)
    np.testing.assert_array_equal(read_frames(path, frames=[2, 0]), FRAMES[[2, 0]])
    assert read_frames(path, frames=[1]).shape == (1, 4, 5)
    assert count_frames(path) == 3
    np.testing.assert_allclose(read_image(path, 1), (FRAMES[1] - FRAMES[1].min()) / 19, atol=1e-6)
    for frame in (-1, 3):
        with pytest.raises(InputError, match="frame: expected 0 to 2"):
            read_image(path, frame)


def test_values_are_rescaled_frame_by_frame_as_functional_groups_say(tmp_path: Path, write_dicom: Write) -> None:
    groups = []
    for number in range(3):
        transformation, position, group = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = number + 1, -10 * number
        position.ImagePositionPatient = [0, 0, 2.5 * number]
        group.PixelValueTransformationSequence, group.PlanePositionSequence = [transformation], [position]
        groups.append(group)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 2.5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    path = write_frames(
        tmp_path / "a.dcm", write_dicom, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        PerFrameFunctionalGroupsSequence=groups, SharedFunctionalGroupsSequence=[shared],
    )  # fmt: skip
    expected = np.stack([FRAMES[n].astype(np.float64) * (n + 1) - 10 * n for n in range(3)])
    values = read_values(path)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected)
    np.testing.assert_allclose(read_values(path, frames=[2]), expected[2:])
    geometry = read_geometry(path)
    assert [frame.position_mm for frame in geometry] == [(0, 0, 0), (0, 0, 2.5), (0, 0, 5)]
    assert geometry[2].spacing_mm == (0.5, 0.75)
    assert geometry[2].thickness_mm == 2.5
    assert geometry[2].orientation == (1, 0, 0, 0, 1, 0)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int16]), st.floats(0.1, 50), st.floats(-2000, 2000),
    st.floats(-3000, 3000), st.floats(2, 5000), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_values_and_windows_equal_pydicom_s(
    tmp_path_factory: pytest.TempPathFactory, dtype: type, slope: float, intercept: float, centre: float, width: float,
    seed: int,
) -> None:  # fmt: skip
    """Also for images with more pixels than values, where a table is used."""
    dataset = _plain_dataset(dtype, 300 if np.dtype(dtype).itemsize == 1 else 20, seed)
    dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.6g}", f"{intercept:.6g}"
    dataset.WindowCenter, dataset.WindowWidth = f"{centre:.6g}", f"{width:.6g}"
    path = tmp_path_factory.mktemp("w") / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    expected = apply_modality_lut(dcmread(path).pixel_array, dataset)
    np.testing.assert_allclose(read_values(path)[0], expected, rtol=1e-5, atol=1e-2)
    shown = (expected - (float(dataset.WindowCenter) - 0.5)) / (float(dataset.WindowWidth) - 1) + 0.5
    np.testing.assert_allclose(read_image(path), np.clip(shown, 0, 1), atol=1e-3)


def _plain_dataset(dtype: type, size: int, seed: int) -> Dataset:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    limits = np.iinfo(dtype)
    pixels = np.random.default_rng(seed).integers(limits.min, limits.max, (size, size), dtype, endpoint=True)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = size, size, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(limits.min < 0)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def test_a_voi_table_is_used_as_pydicom_uses_it(tmp_path: Path, write_dicom: Write) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [8, 2, 16], np.arange(0, 65535, 8192).astype("<u2").tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_dicom(tmp_path / "a.dcm", VOILUTSequence=[table], BitsStored=16, PixelRepresentation=0)
        dataset = dcmread(path)
        expected = apply_voi_lut(dataset.pixel_array, dataset) / 65535
    np.testing.assert_allclose(read_image(path), expected, atol=1e-6)


def test_monochrome1_is_inverted_once_and_values_are_not(tmp_path: Path, write_dicom: Write) -> None:
    """FAULTS 21."""
    pixels = np.random.default_rng(0).integers(0, 4096, (600, 600)).astype(np.uint16)
    plain = read_image(write_dicom(tmp_path / "a.dcm", pixels))
    inverted = write_dicom(tmp_path / "b.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(read_image(inverted), 1 - plain, atol=1e-6)
    np.testing.assert_array_equal(read_values(inverted)[0], pixels)


def test_padding_does_not_set_the_range(tmp_path: Path, write_dicom: Write) -> None:
    pixels = np.array([[60000, 10], [20, 30]], np.uint16)
    shown = read_image(write_dicom(tmp_path / "a.dcm", pixels, PixelPaddingValue=60000))
    np.testing.assert_allclose(shown, np.array([[1, 0], [0.5, 1]]), atol=1e-6)


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_other_encodings_give_the_same_pixels(tmp_path: Path, write_dicom: Write, syntax: UID) -> None:
    path = write_frames(tmp_path / "a.dcm", write_dicom)
    dataset: Dataset = dcmread(path)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = FRAMES.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    meta, dataset = dataset.file_meta, Dataset({element.tag: element for element in dataset})  # of no encoding yet
    dataset.file_meta = meta
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_frames(tmp_path / "b.dcm"), FRAMES)


def test_a_frame_of_single_bits_may_begin_within_a_byte(tmp_path: Path, write_dicom: Write) -> None:
    frames = np.random.default_rng(0).integers(0, 2, (3, 7, 5)).astype(np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    path = write_frames(
        tmp_path / "a.dcm", write_dicom, frames, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed
    )
    np.testing.assert_array_equal(read_frames(path), frames)
    np.testing.assert_array_equal(read_frames(path, frames=[2, 0]), frames[[2, 0]])
    np.testing.assert_array_equal(read_image(path, 1), frames[1])


def test_float_and_single_bit_pixels_are_read(tmp_path: Path, write_dicom: Write) -> None:
    bits = np.array([[0, 1, 1, 0, 1, 0, 0, 1]] * 2, np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    changes = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": packed}
    path = write_dicom(tmp_path / "bits.dcm", bits, **changes)
    np.testing.assert_array_equal(read_frames(path), bits)
    np.testing.assert_array_equal(read_image(path), bits)
    values = np.array([[0.5, -1.5], [2.5, 0]], np.float32)
    path = write_dicom(
        tmp_path / "float.dcm", np.zeros((2, 2), np.uint16), PixelData=None, FloatPixelData=values.tobytes(),
        BitsAllocated=32, BitsStored=None, HighBit=None, PixelRepresentation=None,
    )  # fmt: skip
    np.testing.assert_array_equal(read_values(path)[0], values)
    np.testing.assert_allclose(read_image(path), (values + 1.5) / 4)


def test_colour_has_no_values(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match="grey"):
        read_values(path)


def test_threads_read_at_once_without_a_warning(tmp_path: Path, write_dicom: Write) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about what is wrong here on purpose
        path = write_dicom(tmp_path / "a.dcm", PatientSex="Archer", WindowCenter="12.123456789012345678", WindowWidth=9)
    expected = read_image(path)
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                np.testing.assert_array_equal(read_image(path), expected)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_content_in_memory_is_read_in_place_of_the_file(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm")
    content, expected = path.read_bytes(), read_image(path)
    path.write_bytes(b"something else")
    np.testing.assert_array_equal(read_image(path, content=content), expected)
