"""Images outside of DICOM: PNG, JPEG, TIFF and NIfTI as arrays."""
