"""Neural-network post-filters: models, engines, the patch process, the runner."""
