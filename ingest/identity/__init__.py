"""Who is who: keyed pseudonyms, the restricted table of identities, merged people."""
