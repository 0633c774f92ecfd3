"""A folder of studies or a cohort of phantoms becomes Cases; any plugin that can, learns."""
