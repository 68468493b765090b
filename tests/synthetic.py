"""A small aligned cohort written straight to disk: the deterioration task reduced, with a known risk.

Every stream carries its own part of the log-odds, so that each knows something that the others do not. The risk that
the outcomes were drawn from is kept in `<folder>/truth.parquet` (case_id, risk), so the best attainable is known.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ingest.statistics import Statistics, StreamStatistics
from ingest.task import (
    AudioStream,
    ImageStream,
    SeriesStream,
    StreamSpec,
    TableStream,
    Task,
    TextStream,
    parse_task,
)

ABSENT = {"labs": 0.05, "xray": 1 / 3, "notes": 0.2, "sound": 0.5}
WEIGHTS = {"record": 0.8, "vitals": 1.1, "labs": 0.9, "xray": 0.9, "notes": 0.8, "sound": 0.7}
VOCABULARY_SIZE = 512
WORSE = ("worsening", "distress", "confused", "oliguria")
BETTER = ("comfortable", "walking", "stable", "eating")
FILLER = (
    "patient",
    "seen",
    "on",
    "round",
    "family",
    "informed",
    "plan",
    "continue",
    "no",
    "fever",
    "reviewed",
    "today",
)
AUDIO_FRAMES = 24


def write_cohort(
    folder: Path,
    n: int = 240,
    seed: int = 0,
    *,
    absent: Mapping[str, float] | None = None,
    image_size: int = 32,
    shards: int = 1,
    cases_per_subject: int = 1,
    strength: float = 1.0,
) -> Path:
    """Write a cohort of `n` cases with the streams record, vitals, labs, xray, notes and sound; return its folder.

    absent: stream -> fraction of the cases without it, over the defaults (1.0: nobody has it; record is always
    there unless named). strength: factor on the log-odds (0: the streams say nothing).
    """
    rng = np.random.default_rng(seed)
    task = parse_task(reduced_task(image_size), "synthetic")
    latent = {name: rng.normal(size=n) for name in task.streams}
    logit = -1.1 + strength * sum(WEIGHTS[name] * latent[name] for name in task.streams)
    risk = 1 / (1 + np.exp(-logit))
    missing = {**ABSENT, **(absent or {})}
    present = {name: rng.random(n) >= missing.get(name, 0.0) for name in task.streams}
    subjects = np.arange(n) // cases_per_subject
    part = rng.choice(["train", "validation", "test"], size=n, p=[0.6, 0.15, 0.25])[subjects]
    index = pd.DataFrame(
        {
            "case_id": [f"case-{seed}-{i:05d}" for i in range(n)],
            "subject_id": (subjects + 1000).astype(np.int64),
            "index_time": np.datetime64("2024-01-01T00:00", "us") + np.arange(n) * np.timedelta64(3, "h"),
            "target": (rng.random(n) < risk).astype(np.float32),
            "split": part,
        }
    )
    arrays = {name: stream_arrays(spec, name, latent[name], rng) for name, spec in task.streams.items()}
    for shard, rows in enumerate(np.array_split(np.arange(n), shards)):
        _write_shard(folder / "shards" / f"{shard:05d}", task, index, arrays, present, rows)
    statistics = Statistics(
        {
            name: _statistics(spec, arrays[name], present[name] & (part == "train"))
            for name, spec in task.streams.items()
        },
        cases=int((part == "train").sum()),
        prevalence=float(index["target"][part == "train"].mean()),
    )
    report = {"cases": n, "excluded": {}, "events": int(index["target"].sum()), "late": 0}
    for name, value in (
        ("task", task.model_dump(mode="json")),
        ("statistics", statistics.to_json()),
        ("report", report),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2))
    pd.DataFrame({"case_id": index["case_id"], "risk": risk}).to_parquet(folder / "truth.parquet")
    return folder


def reduced_task(image_size: int = 32) -> dict[str, object]:
    """The deterioration task with fewer features and smaller arrays, as plain values."""
    return {
        "name": "deterioration-small",
        "title": "ICU transfer or death within 48 h",
        "index": {"event": "ENCOUNTER//IMP//START", "offset_hours": 24},
        "target": {"events": ["LOCATION//ICU", "MEDS_DEATH"], "horizon_hours": 48},
        "streams": {
            "record": {
                "kind": "table",
                "features": [
                    {"name": "age", "derive": "age", "unit": "a"},
                    {"name": "sex", "codes": ["GENDER"], "levels": ["female", "male"]},
                    {"name": "heart failure", "codes": ["SNOMED//84114007"], "reduce": "any"},
                ],
            },
            "vitals": {
                "kind": "series",
                "window_hours": 24,
                "max_times": 12,
                "channels": [
                    {"name": "heart rate", "codes": ["LOINC//8867-4"], "unit": "/min"},
                    {"name": "respiratory rate", "codes": ["LOINC//9279-1"], "unit": "/min"},
                    {"name": "oxygen saturation", "codes": ["LOINC//59408-5"], "unit": "%"},
                ],
            },
            "labs": {
                "kind": "series",
                "window_hours": 48,
                "max_times": 6,
                "channels": [
                    {"name": "C-reactive protein", "codes": ["LOINC//1988-5"], "unit": "mg/L"},
                    {"name": "lactate", "codes": ["LOINC//2524-7"], "unit": "mmol/L"},
                ],
            },
            "xray": {
                "kind": "image",
                "codes": ["DICOM//DX"],
                "window_hours": 48,
                "shape": [image_size, image_size],
            },
            "notes": {"kind": "text", "codes": ["LOINC//34117-2"], "window_hours": 48, "max_tokens": 24},
            "sound": {
                "kind": "audio",
                "codes": ["SNOMED//37931006"],
                "window_hours": 48,
                "seconds": 2,
                "mels": 16,
            },
        },
    }


def stream_arrays(spec: StreamSpec, name: str, z: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays of one stream for all cases, driven by that stream's latent z (n,); texts where it is text."""
    if isinstance(spec, TableStream):
        return _table(z, rng)
    if isinstance(spec, SeriesStream):
        return _vitals(spec, z, rng) if name == "vitals" else _labs(spec, z, rng)
    if isinstance(spec, ImageStream):
        return _image(spec, z, rng)
    if isinstance(spec, TextStream):
        return _text(spec, z, rng)
    return _audio(spec, z, rng)


def _table(z: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    n = len(z)
    age = np.clip(62 + 12 * (0.8 * z + 0.6 * rng.normal(size=n)), 18, 99)
    sex = rng.integers(0, 2, n)
    failure = (0.9 * z + 0.8 * rng.normal(size=n)) > 0.8
    observed = np.ones((n, 3), bool)
    observed[:, 1] = rng.random(n) > 0.1
    hours = np.tile(np.array([0.0, -24.0, -500.0], np.float32), (n, 1))
    return _stream(np.stack([age, sex, failure], 1).astype(np.float32), observed, hours)


def _vitals(spec: SeriesStream, z: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    hours = _times(len(z), spec.max_times, 24, rng)
    trend = z[:, None] * (1 + hours / 24)  # grows towards the index time: the slope tells, not only the level
    clean = np.stack([84 + 10 * trend, 18 + 3 * trend, 96 - 2 * trend], 2)
    return _series(clean, np.array([8.0, 2.5, 1.5]), hours, rng)


def _labs(spec: SeriesStream, z: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    hours = _times(len(z), spec.max_times, 48, rng)
    level = np.repeat(z[:, None], spec.max_times, 1)
    clean = np.stack([60 + 25 * level, 1.6 + 0.5 * level], 2)
    return _series(clean, np.array([20.0, 0.4]), hours, rng)


def _times(n: int, times: int, window_hours: float, rng: np.random.Generator) -> np.ndarray:
    return np.sort(-rng.uniform(0.1, window_hours, (n, times)), 1).astype(np.float32)


def _series(clean: np.ndarray, noise: np.ndarray, hours: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Elements lie at the front, as times that exist; the rest of T is unobserved."""
    n, times, channels = clean.shape
    count = rng.integers(2, times + 1, n)
    exists = np.arange(times) < count[:, None]
    observed = exists[:, :, None] & (rng.random((n, times, channels)) < 0.8)
    observed[:, 0, 0] = True
    return _stream((clean + noise * rng.normal(size=clean.shape)).astype(np.float32), observed, hours * exists)


def _image(spec: ImageStream, z: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A soft opacity in the lower left whose density follows z, on a noisy background."""
    height, width = spec.shape
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    blob = np.exp(-((x - 0.3) ** 2 + (y - 0.7) ** 2) / 0.02)
    density = 1 / (1 + np.exp(-z))
    pixels = 0.35 + 0.4 * density[:, None, None] * blob + 0.06 * rng.normal(size=(len(z), height, width))
    values = np.clip(pixels, 0, 1).astype(np.float32)[:, None, None]
    return _stream(values, np.ones((len(z), 1), bool), -rng.uniform(1, 40, (len(z), 1)).astype(np.float32))


def _text(spec: TextStream, z: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    texts = []
    for severity in z:
        telling = rng.random(5) < 1 / (1 + np.exp(-1.6 * severity))
        words = [str(rng.choice(WORSE if bad else BETTER)) for bad in telling]
        words += [str(word) for word in rng.choice(FILLER, rng.integers(5, 15))]
        rng.shuffle(words)
        texts.append(" ".join(words))
    values = np.zeros((len(z), spec.max_tokens), np.int64)
    observed = np.zeros(values.shape, bool)
    for row, text in enumerate(texts):
        tokens = [1 + zlib.crc32(word.encode()) % (VOCABULARY_SIZE - 1) for word in text.split()][: spec.max_tokens]
        values[row, : len(tokens)] = tokens
        observed[row, : len(tokens)] = True
    hours = np.repeat(-rng.uniform(1, 40, (len(z), 1)), spec.max_tokens, 1).astype(np.float32) * observed
    return _stream(values, observed, hours) | {"texts": np.array(texts, object)}


def _audio(spec: AudioStream, z: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Log-mel frames; the upper bands are louder at moments (crackles) where z is high."""
    frames = rng.normal(-6, 1, (len(z), AUDIO_FRAMES, spec.mels))
    crackle = rng.random((len(z), AUDIO_FRAMES)) < 0.3
    upper = np.arange(spec.mels) >= spec.mels * 2 // 3
    frames += 1.2 * z[:, None, None] * crackle[:, :, None] * upper
    hours = np.repeat(-rng.uniform(1, 40, (len(z), 1)), AUDIO_FRAMES, 1)
    return _stream(frames.astype(np.float32), np.ones(frames.shape[:2], bool), hours.astype(np.float32))


def _stream(values: np.ndarray, observed: np.ndarray, hours: np.ndarray) -> dict[str, np.ndarray]:
    shown = observed.reshape(observed.shape + (1,) * (values.ndim - observed.ndim))
    return {"values": values * shown.astype(values.dtype), "observed": observed, "hours": hours.astype(np.float32)}


def _write_shard(
    folder: Path,
    task: Task,
    index: pd.DataFrame,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    present: Mapping[str, np.ndarray],
    rows: np.ndarray,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    here = index.iloc[rows].copy()
    for name, spec in task.streams.items():
        has = present[name][rows]
        kept = rows[has]
        here[f"{name}_row"] = np.where(has, np.cumsum(has) - 1, -1).astype(np.int64)
        for part in ("values", "observed", "hours"):
            np.save(folder / f"{name}.{part}.npy", arrays[name][part][kept])
        number = np.arange(len(kept))
        if isinstance(spec, TextStream):
            texts = pd.DataFrame({"row": number, "text": list(arrays[name]["texts"][kept])})
            texts.astype({"text": "str"}).to_parquet(folder / f"{name}.text.parquet")
        pd.DataFrame(
            {
                "row": number,
                "source_file": f"{name}.ndjson",
                "source_record": [f"{name}-{case}" for case in kept],
                "asset": [f"{name}/{case}.dcm" if isinstance(spec, ImageStream) else "" for case in kept],
            }
        ).astype({"source_file": "str", "source_record": "str", "asset": "str"}).to_parquet(
            folder / f"{name}.source.parquet"
        )
    here.to_parquet(folder / "index.parquet")


def _statistics(spec: StreamSpec, arrays: Mapping[str, np.ndarray], rows: np.ndarray) -> StreamStatistics:
    values, observed = arrays["values"], arrays["observed"]
    elements, feature_shape = values.shape[1], values.shape[2:]
    if isinstance(spec, TextStream):
        return StreamStatistics("text", elements, feature_shape, vocabulary_size=VOCABULARY_SIZE)
    shown = np.broadcast_to(observed.reshape(observed.shape + (1,) * (values.ndim - observed.ndim)), values.shape)
    chosen = np.where(shown, values, np.nan)[rows]
    if isinstance(spec, ImageStream):
        chosen = np.moveaxis(chosen, 2, -1)
    if not isinstance(spec, TableStream):
        chosen = chosen.reshape(-1, chosen.shape[-1])
    width = chosen.shape[1]
    mean, std = (np.nanmean(chosen, 0), np.nanstd(chosen, 0)) if len(chosen) else (np.zeros(width), np.ones(width))
    features = getattr(spec, "features", getattr(spec, "channels", ()))
    named = features if isinstance(features, tuple) else ()
    return StreamStatistics(
        spec.kind,
        elements,
        feature_shape,
        names=tuple(feature.name for feature in named),
        units=tuple(feature.unit or "" for feature in named),
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) or 1.0 for value in std),
        levels={f.name: f.levels for f in named if isinstance(f.levels, tuple)},
    )
