"""Each modality's files show its reading: simple features and a linear model recover it."""

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clinical.ward.fhir import Resource
from clinical.ward.latent import draw_latent
from clinical.ward.measurements import laboratory_results, vital_signs
from clinical.ward.notes import note_text
from clinical.ward.radiographs import radiograph
from clinical.ward.sounds import breath_sound
from clinical.ward.stays import Stay, age_of_reading, draw_stays, stamp

Floats = npt.NDArray[np.float64]
PENALTIES = np.logspace(-2, 4, 13)


@pytest.fixture(scope="module")
def stays() -> list[Stay]:
    return draw_stays(draw_latent(480, 5), 5)


def recovery(features: object, stays: list[Stay], name: str, model: object = None) -> float:
    """The cross-validated R² of a linear model of a modality's reading."""
    readings = [stay.readings[name] for stay in stays]
    folds = KFold(5, shuffle=True, random_state=0)
    linear = model or make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    return float(r2_score(readings, cross_val_predict(linear, features, readings, cv=folds)))


def means_by_code(stays: list[Stay], observations: list[list[Resource]], codes: list[str]) -> Floats:
    """The mean of each code up to the index time, with the mean of all patients where there is none."""
    rows = []
    for stay, of_stay in zip(stays, observations, strict=True):
        values = defaultdict(list)
        for observation in of_stay:
            if observation["issued"] <= stamp(stay.index_time):
                for part in observation.get("component", [observation]):
                    values[part["code"]["coding"][0]["code"]].append(part["valueQuantity"]["value"])
        rows.append([float(np.mean(values[code])) if values[code] else np.nan for code in codes])
    table = np.array(rows)
    return np.where(np.isnan(table), np.nanmean(table, axis=0), table)


def test_vital_signs_show_their_reading(stays: list[Stay]) -> None:
    codes = ["8867-4", "9279-1", "59408-5", "8310-5", "8480-6"]
    some = stays[:160]
    features = means_by_code(some, [list(vital_signs(stay)) for stay in some], codes)
    assert recovery(features, some, "vitals") > 0.94


def test_laboratory_results_show_their_reading(stays: list[Stay]) -> None:
    codes = ["1988-5", "2524-7", "6690-2", "2160-0", "777-3"]
    some = stays[:160]
    features = means_by_code(some, [list(laboratory_results(stay)) for stay in some], codes)
    assert recovery(features, some, "labs") > 0.92


def test_age_shows_the_reading_of_the_record(stays: list[Stay]) -> None:
    ages = np.array([stay.age_years for stay in stays])
    assert recovery(ages[:, None], stays, "record") > 0.98
    assert age_of_reading(-4) > 20
    assert age_of_reading(4) < 100


def test_notes_show_their_reading_to_pairs_of_words_and_less_of_it_to_single_words(stays: list[Stay]) -> None:
    texts = [note_text(stay.note_points, stay.generator(5)) for stay in stays]

    def counting(longest: int) -> object:
        return make_pipeline(CountVectorizer(ngram_range=(1, longest), binary=True), RidgeCV(PENALTIES))

    pairs, words = (recovery(texts, stays, "notes", counting(longest)) for longest in (2, 1))
    assert pairs > 0.97
    assert words < pairs - 0.05


def test_sounds_show_their_reading(stays: list[Stay]) -> None:
    some, features = stays[:240], []
    for stay in some:
        wave = breath_sound(stay.readings["sound"], stay.generator(6))
        frames = np.lib.stride_tricks.sliding_window_view(wave, 256)[::128] * np.hanning(256)
        power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
        bands = np.log(np.array([band.mean(axis=1) for band in np.array_split(power, 16, axis=1)]) + 1e-6)
        features.append(np.concatenate([bands.mean(axis=1), bands.std(axis=1)]))
    assert recovery(np.array(features), some, "sound") > 0.88


def test_radiographs_show_their_reading_after_downsampling(stays: list[Stay]) -> None:
    some = stays[:160]
    images = [radiograph(stay.readings["xray"], stay.generator(7)) for stay in some]
    coarse = np.array([image.reshape(24, 16, 24, 16).mean(axis=(1, 3)).ravel() for image in images])
    assert recovery(coarse, some, "xray") > 0.82


def test_the_opacity_of_the_lower_lungs_grows_with_the_reading() -> None:
    def lower_lungs(reading: float) -> float:
        image = radiograph(reading, np.random.default_rng(3))
        return float(image[230:270, 50:130].mean() + image[230:270, 270:340].mean())

    levels = [lower_lungs(reading) for reading in (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)]
    assert levels == sorted(levels)
