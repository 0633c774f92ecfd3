"""One module a revision; a committed one is never edited once a release carries it."""
