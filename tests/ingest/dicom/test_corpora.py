"""Public collections of valid and of malformed DICOM files: read as pydicom reads them, or refused in one line."""

import io
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.dicom.entry import read_entry
from ingest.dicom.trial_decoding import undecodable
from ingest.errors import InputError
from ingest.pictures.pixels import read_frames
from ingest.run import ingest
from ingest.workspace import Workspace

HOSTILE = Path(__file__).parents[4] / "shared" / "data" / "hostile"
CONFORMANCE, FUZZING = HOSTILE / "dicom-conformance.tar.gz", HOSTILE / "dicom-fuzzing-corpus.tar.gz"


def unpacked(archive: Path, folder: Path) -> Path:
    if not archive.is_file():
        pytest.skip(f"{archive}: not here")
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def conformance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(CONFORMANCE, tmp_path_factory.mktemp("conformance"))


@pytest.fixture(scope="module")
def fuzzing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(FUZZING, tmp_path_factory.mktemp("fuzzing"))


def valid_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".txt":
            content = path.read_bytes()
            if path.suffix == ".zst":
                content = pa.CompressedInputStream(pa.BufferReader(content), "zstd").read()
            yield path, content


def complaint_of(path: Path, content: bytes) -> str:
    """What is said of a file whose pixels are not read; empty where they are after all."""
    try:
        read_frames(path, content=content)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # pydicom's own reading of odd files
def test_every_file_with_pixels_is_read_as_pydicom_reads_it(conformance: Path) -> None:
    from pydicom import dcmread

    equal, lacking = 0, []
    for path, content in valid_files(conformance):
        try:
            expected = dcmread(io.BytesIO(content), force=True).pixel_array
        except Exception:  # noqa: BLE001 - whatever pydicom raises on what it cannot decode
            lacking += [path.name] if "pylibjpeg-libjpeg" in complaint_of(path, content) else []
            continue
        found = read_frames(path, content=content)
        assert found.dtype == expected.dtype, path
        np.testing.assert_array_equal(found, expected, err_msg=str(path))
        equal += 1
    assert equal >= 180
    assert 0 < len(lacking) < 12, "JPEG of 12 bits needs a decoder under the GPL; nothing else lacks one"


@pytest.mark.slow
def test_every_file_without_pixels_is_named_for_what_it_is(conformance: Path) -> None:
    kinds: dict[str, str] = {}
    for path, content in valid_files(conformance):
        plain = path.with_name(path.name.removesuffix(".zst"))
        if plain != path:
            plain.write_bytes(content)
        try:
            said = read_entry(SourceFile(plain, conformance), content, issuer="local", zone=None)
        except (Refusal, InputError) as error:
            said = str(error)
        finally:
            if plain != path:
                plain.unlink()
        if isinstance(said, str):
            assert "\n" not in said
            kinds[plain.name] = said
    expected = {
        "reportsi.dcm": "no image: Basic Text SR Storage", "test-SR.dcm": "no image: Comprehensive SR Storage",
        "rtplan.dcm": "no image: RT Plan Storage", "rtstruct.dcm": "no image: RT Structure Set Storage",
        "rtdose.dcm": "no image: RT Dose Storage", "liver.dcm": "no image: Segmentation Storage",
        "rwvm.dcm": "no image: Real World Value Mapping Storage", "seg.dcm": "no image: Segmentation Storage",
    }  # fmt: skip
    assert {name: kinds[name] for name in expected} == expected


@pytest.mark.slow
def test_a_whole_archive_of_valid_files_is_accounted_for(workspace: Workspace) -> None:
    if not CONFORMANCE.is_file():
        pytest.skip(f"{CONFORMANCE}: not here")
    account = ingest(workspace, [CONFORMANCE], timezone="UTC")
    assert account.by_format["DICOM"].seen > 200
    assert account.total.used > 100
    said = {complaint.got for complaint in account.refusals}
    assert not any("data that" in got for got in said - {"data without frames"}), said


@pytest.mark.slow
def test_malformed_files_cost_neither_time_nor_memory_nor_the_process(fuzzing: Path) -> None:
    """FAULTS 23, 24, 25: no crash, no hang, no untyped exception, all within 1 GB of address space."""
    program = """
        import resource, sys, time
        from pathlib import Path
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        from ingest.errors import InputError
        from ingest.pictures.pixels import count_frames, read_frames, read_image, read_values
        worst = 0.0
        for path in sorted(Path(sys.argv[1]).rglob("*.dcm")):
            start = time.process_time()
            for read in (read_frames, read_image, read_values, count_frames):
                try:
                    read(path)
                except InputError as error:
                    assert "\\n" not in str(error)
            worst = max(worst, time.process_time() - start)
        print(worst, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(fuzzing)], capture_output=True, text=True, timeout=300,
        env={"OPENBLAS_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    worst_seconds, megabytes = map(float, done.stdout.split())
    assert worst_seconds < 5
    assert megabytes < 1024


@pytest.mark.slow
def test_a_delivery_of_malformed_files_is_refused_file_by_file(workspace: Workspace, fuzzing: Path) -> None:
    account = ingest(workspace, [fuzzing], timezone="UTC")
    assert account.by_format["DICOM"].seen == len(list(fuzzing.rglob("*.dcm")))
    assert account.by_format["DICOM"].refused > 300
    assert not any("\n" in str(complaint) for complaint in account.refusals)


@pytest.mark.slow
def test_a_file_that_makes_a_decoder_abort_is_refused_and_the_rest_goes_on(conformance: Path, tmp_path: Path) -> None:
    """One byte of a JPEG-LS frame, its precision, makes GDCM end the process that it is in."""
    sound = conformance / "data" / "WG04" / "JLSL" / "MR3_JLSL"
    content = bytearray(sound.read_bytes())
    frame = content.index(b"\xff\xd8\xff\xf7")
    content[frame + 6] = 127
    hostile = tmp_path / "hostile.dcm"
    hostile.write_bytes(content)
    found = dict(undecodable([(1, sound, 1 << 20), (2, hostile, 1 << 20), (3, sound, 1 << 20), (4, hostile, 1 << 20)]))
    assert {number: refusal.got for number, refusal in found.items()} == {
        2: "data that crash the decoder",
        4: "data that crash the decoder",
    }
