"""A detector in use: loading, detecting, evaluating, converting; `training` holds the runs."""
