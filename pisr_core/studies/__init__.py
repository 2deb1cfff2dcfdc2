"""Several trainings, or one model at several settings, compared."""
