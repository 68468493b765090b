"""What of a FHIR resource may stay, by its type and by the names of its elements. Whatever is not named here goes."""

# Types that are written. Others are refused: nobody has looked at what their elements say.
_TYPES = """
Patient Encounter Observation Condition Procedure MedicationRequest MedicationAdministration MedicationStatement
MedicationDispense Medication AllergyIntolerance Immunization DiagnosticReport DocumentReference Media ImagingStudy
ServiceRequest Specimen Location Organization Practitioner PractitionerRole RelatedPerson Device Binary
QuestionnaireResponse
"""
TYPES = frozenset(_TYPES.split())
# What these are called, where they live and how they are reached identifies people too.
OF_PEOPLE_AND_PLACES = frozenset(
    {"Practitioner", "PractitionerRole", "RelatedPerson", "Organization", "Location", "Device"}
)
# Elements that go whatever they hold.
_DROPPED = """
identifier name alias telecom address photo contact communication link extension birthDate endpoint masterIdentifier
position hoursOfOperation availableTime notAvailable udiCarrier serialNumber lotNumber distinctIdentifier deviceName
owner groupIdentifier requisition accessionIdentifier hash size authenticator signature implicitRules
managingOrganization generalPractitioner
"""
DROPPED = frozenset(_DROPPED.split())
# Elements whose texts are codes or addresses of code systems: they stay as they are where they look like one.
_CODES = """
resourceType system code unit status intent use language mode comparator gender contentType version type kind
criticality category clinicalStatus verificationStatus priority doNotPerform docStatus relationship linkId
questionnaire instantiatesCanonical profile onsetCode operationalStatus dimensions format
"""
CODES = frozenset(_CODES.split())
# Elements that hold people's own words: scrubbed as notes are.
_TEXTS = """
valueString conclusion description comment title display text note patientInstruction instruction reason onsetString
abatementString series reasonString deathString content answer valueMarkdown
"""
TEXTS = frozenset(_TEXTS.split())
# Elements that count, measure or order: numbers and truth values stay wherever they are, these as text too.
MEASURES = frozenset({"data", "valueTime", "lowerLimit", "upperLimit"})
