"""What every family shares: names and checks, results, validation, cohorts."""
