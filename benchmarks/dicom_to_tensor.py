"""How long DICOM files take to become aligned tensors, set beside decoding their pixels alone. Prints JSON.

    python benchmarks/dicom_to_tensor.py [--folder DIR]

Files are made here: radiographs of 2,500 x 2,048 pixels and CT series of 512 x 512, with noise as sensors have it, in
five transfer syntaxes. `ratio_per_core` compares like with like: the seconds of aligning on all cores, over the seconds
in which all cores decode the same files with pydicom and do nothing else, in turns within one run.
`ratio_to_one_core_alone` is stricter: the cores used, times the seconds of aligning, over the seconds of one core
that decodes while the others rest. Aligning reads a file, compares its SHA-256 with the one at ingest, decodes,
windows, resamples, and puts the tensors together.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `ingest` would be ingest.py

from ingest import machine
from ingest.align import workers
from ingest.align.block import Given
from ingest.align.events import TIMELESS, Cases
from ingest.align.image import ImageAligner
from ingest.align.prepare import prepare_events
from ingest.align.report import Tally
from ingest.catalogue import SCHEMA
from ingest.files import sha256_of
from ingest.observations import ObservationColumns
from ingest.task import ImageStream, parse_task

SYNTAXES = ("uncompressed", "RLE", "JPEG lossless", "JPEG-LS", "JPEG 2000")
STREAMS: dict[str, dict[str, Any]] = {
    "radiographs": {"shape": [224, 224]},
    "CT series": {"shape": [64, 128, 128], "spacing_mm": [2.5, 2.5, 2.5], "intensity": [-1000, 1000]},
}
SECONDS = 3.0  # of decoding in each measurement
ROUNDS = 3
DECODE = """
import sys, time
from pydicom.pixels.utils import pixel_array
pixel_array(sys.argv[2])
start = time.perf_counter()
for path in sys.argv[2:] * int(sys.argv[1]):
    pixel_array(path)
print(time.perf_counter() - start)
"""


def main() -> None:
    """Make the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="make the files here, or use those that are there")
    asked = parser.parse_args()
    with TemporaryDirectory() as scratch:
        print(json.dumps(measure(asked.folder or Path(scratch)), indent=2))


def measure(folder: Path, radiographs: int = 4, series: int = 2, slices: int = 40) -> dict[str, Any]:
    """Seconds and ratios by kind of image and transfer syntax, and over all of them."""
    made = make_files(folder, radiographs, series, slices)
    found: dict[str, Any] = {"cores": machine.cores()}
    for kind, by_syntax in made.items():
        found[kind] = {syntax: _measured(kind, groups) for syntax, groups in by_syntax.items()}
        parts = found[kind].values()
        compressed = [part for syntax, part in found[kind].items() if syntax != "uncompressed"]
        found[kind]["all"] = _together(list(parts))
        found[kind]["all compressed"] = _together(compressed)
    workers.close()
    return found


def make_files(folder: Path, radiographs: int, series: int, slices: int) -> dict[str, dict[str, list[list[Path]]]]:
    """kind -> transfer syntax -> groups of files, a group for each image or volume. Those that are there are kept."""
    made: dict[str, dict[str, list[list[Path]]]] = {kind: {syntax: [] for syntax in SYNTAXES} for kind in STREAMS}
    for kind, groups, count, size in (
        ("radiographs", radiographs, 1, (2500, 2048)),
        ("CT series", series, slices, (512, 512)),
    ):
        for group in range(groups):
            rng = np.random.default_rng(group)
            still = _body(size, rng)
            for syntax in SYNTAXES:
                made[kind][syntax].append([folder / kind / syntax / f"{group}-{n:03d}.dcm" for n in range(count)])
            for number in range(count):
                paths = [made[kind][syntax][group][number] for syntax in SYNTAXES]
                if not all(path.is_file() for path in paths):
                    pixels = np.clip(still + rng.normal(0, 6, size), 0, 4095).astype(np.uint16)
                    _write_all(paths, pixels, number, is_ct=kind == "CT series")
    return made


def _measured(kind: str, groups: Sequence[Sequence[Path]]) -> dict[str, float]:
    """One core decoding, and the aligner on all cores, in turns."""
    from pydicom.pixels.utils import pixel_array

    files = [str(path) for group in groups for path in group]
    once = _seconds(lambda: [pixel_array(path) for path in files])
    repeats = max(1, round(SECONDS / ROUNDS / once))
    blocks = _aligner(kind, groups, repeats)
    # The workers are up, as they are but for the first second and a half of a run.
    workers.TRIAL_SECONDS, workers.WORTH_SECONDS = 0.0, 0.0
    blocks()
    decoding = aligning = scaling = worked_decoding = worked_aligning = 0.0
    for _ in range(ROUNDS):
        before = _worked()
        decoding += _seconds(lambda: [pixel_array(path) for path in files * repeats])
        between = _worked()
        aligning += _seconds(blocks)
        worked_decoding, worked_aligning = worked_decoding + between - before, worked_aligning + _worked() - between
        scaling += _decoding_on_all_cores(files, repeats)
    return _with_ratios(
        {
            "files": len(files) * repeats * ROUNDS,
            "decoding_seconds": decoding,
            "decoding_seconds_on_all_cores": scaling,
            "aligning_seconds": aligning,
            "processor_seconds_of_decoding": worked_decoding,
            "processor_seconds_of_aligning": worked_aligning,
        }
    )


def _together(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """As if each syntax had one file."""
    names = [name for name in parts[0] if "seconds" in name]
    return _with_ratios({name: sum(part[name] / part["files"] for part in parts) for name in names})


def _with_ratios(seconds: dict[str, float]) -> dict[str, float]:
    """The ratios of processor time are those that other work on the machine disturbs least."""
    cores, aligning = machine.cores(), seconds["aligning_seconds"]
    return {
        **seconds,
        "ratio_per_core": cores * aligning / seconds["decoding_seconds_on_all_cores"],
        "ratio_to_one_core_alone": cores * aligning / seconds["decoding_seconds"],
        "ratio_of_processor_time": seconds["processor_seconds_of_aligning"] / seconds["processor_seconds_of_decoding"],
        "cores_used": seconds["processor_seconds_of_aligning"] / aligning,
    }


def _decoding_on_all_cores(files: Sequence[str], repeats: int) -> float:
    """The mean seconds of as many processes as there are cores, each of which decodes all of the files."""
    command = [sys.executable, "-c", DECODE, str(repeats), *files]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(machine.cores())]
    return float(np.mean([float(process.communicate()[0]) for process in running]))


def _aligner(kind: str, groups: Sequence[Sequence[Path]], repeats: int) -> Callable[[], None]:
    """Aligns `repeats` cases for each group of files."""
    rows, facts = ObservationColumns(), []
    for subject, group in enumerate(groups):
        for path in group:
            digest = sha256_of(path)
            rows.add(subject, "IMAGE", asset=str(path), asset_sha256=digest, source_file="f", source_record=path.stem)
            facts.append({"asset_sha256": digest, "asset": str(path), "kind": "image", "series": f"1.{subject}"})
    stream = {"kind": "image", "codes": ["IMAGE"], **STREAMS[kind]}
    task = parse_task(
        {
            "name": "benchmark", "title": "Benchmark", "index": {"event": "START"}, "streams": {"image": stream},
            "target": {"events": ["END"], "horizon_hours": 1},
        },
        "benchmark",
    )  # fmt: skip
    spec = task.streams["image"]
    assert isinstance(spec, ImageStream)
    events = prepare_events(pa.Table.from_batches([rows.batch()]), task).events
    given = Given("image", events, Tally(), catalogue=pa.Table.from_pylist(facts, schema=SCHEMA))
    owner = np.repeat(np.arange(len(groups)), repeats)
    words = np.array([f"{n}" for n in range(len(owner))], object)
    cases = Cases(words, owner, owner, np.full(len(owner), TIMELESS), np.zeros(len(owner), np.float32), words, words)

    def blocks() -> None:
        tally = Tally()
        aligner = ImageAligner(spec, _with(given, tally))
        there = sum(len(block.case) for block in aligner.blocks(cases))
        assert there == len(cases), tally.refusals[:1]

    return blocks


def _with(given: Given, tally: Tally) -> Given:
    return Given(given.stream, given.events, tally, catalogue=given.catalogue)


def _body(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A smooth picture of 12 bits, without its noise."""
    from scipy import ndimage

    rows, columns = size
    smooth = ndimage.zoom(rng.normal(size=(rows // 64 + 2, columns // 64 + 2)), 64, order=3)[:rows, :columns]
    y, x = np.mgrid[:rows, :columns]
    outline = np.exp(-(((y - rows / 2) / (rows * 0.45)) ** 4 + ((x - columns / 2) / (columns * 0.4)) ** 4))
    return np.asarray(outline * (0.55 + 0.12 * smooth) * 4095)


def _write_all(paths: Sequence[Path], pixels: np.ndarray, number: int, *, is_ct: bool) -> None:
    """The same picture in all of `SYNTAXES`."""
    import pydicom
    from pydicom.uid import JPEG2000Lossless, RLELossless

    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    _write_plain(paths[0], pixels, number, is_ct=is_ct)
    for path, syntax in ((paths[1], RLELossless), (paths[4], JPEG2000Lossless)):
        made = pydicom.dcmread(paths[0])
        made.compress(syntax, generate_instance_uid=False)
        made.save_as(path)
    _write_by_gdcm(paths[0], paths[2], "JPEGLosslessProcess14_1")
    _write_by_gdcm(paths[0], paths[3], "JPEGLSLossless")


def _write_plain(path: Path, pixels: np.ndarray, number: int, *, is_ct: bool) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    made = Dataset()
    made.SOPClassUID = CTImageStorage if is_ct else DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID, made.StudyInstanceUID, made.SeriesInstanceUID = (generate_uid() for _ in range(3))
    made.PatientID, made.PatientName, made.Modality = "1", "Phantom", "CT" if is_ct else "DX"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.RescaleSlope, made.RescaleIntercept = 1, -1024 if is_ct else 0
    made.WindowCenter, made.WindowWidth = 2000, 3000
    made.PixelSpacing = [0.7, 0.7] if is_ct else [0.15, 0.15]
    if is_ct:
        made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 2.5 * number], [1, 0, 0, 0, 1, 0]
        made.FrameOfReferenceUID, made.SliceThickness = "1.2.3", 2.5
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    made.save_as(path, enforce_file_format=True)


def _write_by_gdcm(plain: Path, path: Path, syntax: str) -> None:
    import gdcm

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def _worked() -> float:
    """Seconds of processor time of this process and its workers, up to now."""
    own = os.times()
    ticks = 0
    for worker in list(workers._pool._all):
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, as proc(5) numbers them
    return own.user + own.system + ticks / os.sysconf("SC_CLK_TCK")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
