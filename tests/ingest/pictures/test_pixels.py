from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest.errors import InputError
from ingest.pictures.pixels import count_frames, read_frames, read_image

Write = Callable[..., Path]
RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


def test_without_a_window_deep_pixels_fill_the_range(tmp_path: Path, write_dicom: Write) -> None:
    pixels = read_image(write_dicom(tmp_path / "a.dcm"))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, RAMP / 63, atol=1e-6)


def test_monochrome1_is_inverted_exactly_once(tmp_path: Path, write_dicom: Write) -> None:
    bright = read_image(write_dicom(tmp_path / "a.dcm"))
    for shape in ("INVERSE", "IDENTITY"):  # a redundant attribute must not invert again
        changes = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": shape}
        np.testing.assert_allclose(read_image(write_dicom(tmp_path / "b.dcm", **changes)), 1 - bright, atol=1e-6)


def test_rescale_then_window_as_in_ps3_3_c11_2(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", RescaleSlope=2, RescaleIntercept=-10, WindowCenter=[40, 1], WindowWidth=[21, 1]
    )
    expected = np.clip(((RAMP * 2.0 - 10) - 39.5) / 20 + 0.5, 0, 1)
    np.testing.assert_allclose(read_image(path), expected, atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID"])
def test_other_window_functions(tmp_path: Path, write_dicom: Write, function: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", WindowCenter=30, WindowWidth=20, VOILUTFunction=function)
    linear = np.clip((RAMP - 30.0) / 20 + 0.5, 0, 1)
    expected = linear if function == "LINEAR_EXACT" else 1 / (1 + np.exp(-4 * (RAMP - 30.0) / 20))
    np.testing.assert_allclose(read_image(path), expected, atol=1e-6)


def test_eight_bits_keep_their_full_range(tmp_path: Path, write_dicom: Write) -> None:
    pixels = np.full((4, 4), 51, np.uint8)
    np.testing.assert_allclose(read_image(write_dicom(tmp_path / "a.dcm", pixels)), 0.2, atol=1e-6)


def test_colour_is_kept_and_ybr_becomes_rgb(tmp_path: Path, write_dicom: Write) -> None:
    rgb = np.zeros((4, 6, 3), np.uint8)
    rgb[..., 0] = 255
    np.testing.assert_allclose(read_image(write_dicom(tmp_path / "a.dcm", rgb))[0, 0], [1, 0, 0])
    ybr = np.tile(np.array([76, 85, 255], np.uint8), (4, 6, 1))  # red
    red = read_image(write_dicom(tmp_path / "b.dcm", ybr, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(red[0, 0], [1, 0, 0], atol=0.02)


def test_of_several_frames_the_first_is_read(tmp_path: Path, write_dicom: Write) -> None:
    frames = np.stack([RAMP, RAMP[::-1]])
    path = write_dicom(tmp_path / "a.dcm", NumberOfFrames=2, PixelData=frames.tobytes())
    np.testing.assert_allclose(read_image(path), RAMP / 63, atol=1e-6)


def test_rows_beyond_the_data_give_one_line(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", Rows=800)
    with pytest.raises(InputError) as error:
        read_image(path)
    assert "Pixel Data" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_cut_short_gives_one_line(tmp_path: Path, write_dicom: Write, write_picture: Write) -> None:
    for path in (write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint16)), tmp_path / "b.png"):
        if path.suffix == ".png":
            noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
            Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:-3000])
        with pytest.raises(InputError) as error:
            read_image(path)
        assert "\n" not in str(error.value)


def test_grey_colour_alpha_palette_and_sixteen_bits(tmp_path: Path) -> None:
    Image.new("L", (3, 2), 51).save(tmp_path / "l.png")
    Image.new("RGBA", (3, 2), (255, 0, 51, 7)).save(tmp_path / "rgba.png")
    Image.new("RGB", (3, 2), (255, 0, 51)).convert("P").save(tmp_path / "p.png")
    Image.fromarray(np.full((2, 3), 13107, np.uint16)).save(tmp_path / "deep.tiff")
    np.testing.assert_allclose(read_image(tmp_path / "l.png"), np.full((2, 3), 0.2), atol=1e-6)
    np.testing.assert_allclose(read_image(tmp_path / "deep.tiff"), np.full((2, 3), 0.2), atol=1e-6)
    for name in ("rgba.png", "p.png"):
        pixels = read_image(tmp_path / name)
        assert pixels.shape == (2, 3, 3)
        np.testing.assert_allclose(pixels[0, 0], [1, 0, 0.2], atol=1e-6)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_a_tiff_of_32_bits_fills_its_own_range(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.array([[-200_000, 0], [100_000, 200_000]], kind)).save(tmp_path / "a.tiff")
    np.testing.assert_allclose(read_image(tmp_path / "a.tiff"), [[0, 0.5], [0.75, 1]], atol=1e-6)


def test_a_photograph_is_turned_as_exif_says(tmp_path: Path) -> None:
    picture = Image.new("L", (6, 4), 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (6, 4)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    Image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="pixels, got"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\nrubbish", b"\0" * 128 + b"DICMrubbish"])
def test_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError):
        read_image(tmp_path / "x")
    with pytest.raises(InputError, match="nothing of that name"):
        read_image(tmp_path / "absent.png")


def test_the_pages_of_a_tiff_are_frames(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((2, 3), shade, np.uint8)) for shade in (0, 51, 255)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    assert count_frames(tmp_path / "a.tiff") == 3
    np.testing.assert_allclose(read_image(tmp_path / "a.tiff", 1), np.full((2, 3), 0.2), atol=1e-6)
    np.testing.assert_array_equal(read_frames(tmp_path / "a.tiff", frames=[2, 0])[:, 0, 0], [255, 0])
    with pytest.raises(InputError, match="0 to 2"):
        read_image(tmp_path / "a.tiff", 3)
