"""Waveforms and sound: WFDB, EDF, DICOM waveforms and sound files as one kind of signal, with its quality."""
